from pathlib import Path

import pytest

from distillir.errors import LabelError
from distillir.labels import LabelStore
from distillir.labels.place import file_system_of, refuse_network_place

MOUNTS = r"""
overlay / overlay rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sda1 /home/me/disk ext4 rw 0 0
//nas/x /mnt/my\040share cifs rw 0 0
me@host:/ /mnt/ssh fuse.sshfs rw 0 0
host /mnt/nine 9p rw 0 0
broken
/dev/sdb /data ext4 rw 0 0
late:/ /data nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/tmp/l.db", "overlay"),
        ("/home/me/l.db", "nfs4"),
        ("/home/me/disk/l.db", "ext4"),
        ("/homework/l.db", "overlay"),
        ("/mnt/my share/deep/l.db", "cifs"),
        ("/mnt/ssh/l.db", "fuse.sshfs"),
        ("/mnt/nine/l.db", "9p"),
        ("/data/l.db", "nfs"),  # mounted over
    ],
)
def test_the_innermost_latest_mount_counts(path, kind):
    assert file_system_of(Path(path), MOUNTS) == kind


def test_network_places_are_refused_with_a_cure(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"overlay / overlay rw 0 0\nserver:/x {tmp_path}/far nfs rw 0 0\n")
    with pytest.raises(LabelError, match=r"network file system \(nfs\) → put the label store on a local disk"):
        refuse_network_place(tmp_path / "far" / "l.db", mounts)
    (tmp_path / "near").symlink_to(tmp_path / "far")
    with pytest.raises(LabelError, match="nfs"):
        refuse_network_place(tmp_path / "near" / "l.db", mounts)
    refuse_network_place(tmp_path / "l.db", mounts)
    refuse_network_place(tmp_path / "far" / "l.db", tmp_path / "no such list")


def test_a_store_asks_where_it_lies_before_it_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("distillir.labels.place.file_system_of", lambda path, listed: "smb3")
    with pytest.raises(LabelError, match="smb3"):
        LabelStore(tmp_path / "l.db")
    assert list(tmp_path.iterdir()) == []
