"""Where a label store may lie: on a disk of this machine."""

from __future__ import annotations

import re
from pathlib import Path

from distillir.errors import LabelError

NETWORK = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs"}
    | {"smb2", "smb3", "smbfs", "fuse.ceph", "fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.rclone"}
    | {"fuse.s3fs", "fuse.sshfs"}
)
MOUNTS = Path("/proc/self/mounts")


def refuse_network_place(path: Path, mounts: Path = MOUNTS) -> None:
    """Refuse a path on a network file system, where SQLite's locks and shared memory cannot be relied on.

    Where the system does not list its mounts nothing is refused.

    Raises:
        LabelError: naming the kind of file system.
    """
    try:
        listed = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    kind = file_system_of(path.resolve(), listed)
    if kind in NETWORK:
        raise LabelError(
            f"{path} lies on a network file system ({kind})",
            "put the label store on a local disk and copy the file when the labelling is done",
        )


def file_system_of(path: Path, mounts: str) -> str:
    """Kind of the file system that holds an absolute path, "" if unknown; later mounts hide earlier ones."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # Blanks in mount points are written as octal escapes.
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[1]))
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind
