"""A labelling process to interrupt and kill: `label_run.py STORE URL JOBS IN_FLIGHT LEASE`."""

import sys

from distillir.labels import Label, LabelRequest, LabelStore
from distillir.teachers import Endpoint, EndpointSettings, Generate, Message, RunSettings, label, one_call


def job(i, model):
    question = Generate((Message("user", f"q{i}"),), max_tokens=5)
    request = LabelRequest("t", "m", "p", f"q{i}", context_id=f"c{i}")
    return one_call(
        request, question, lambda reply: Label("rewrite", reply.texts[0], reply.texts[0]), model.bound(question)
    )


class Telling(LabelStore):
    """Says which labels it acknowledged, after it did."""

    def put_many(self, pairs, **options):
        pairs = list(pairs)
        new = super().put_many(pairs, **options)
        for request, _ in pairs:
            sys.stdout.write(f"{request.context_id}\n")
        sys.stdout.flush()
        return new


if __name__ == "__main__":
    path, url, jobs, in_flight, lease = sys.argv[1:]
    endpoint = Endpoint(EndpointSettings("m", base_url=url, key_env=None, in_flight=int(in_flight)))
    with Telling(path) as store:
        label(
            lambda model: [job(i, model) for i in range(int(jobs))],
            endpoint,
            store,
            RunSettings(lease=float(lease)),
        )
