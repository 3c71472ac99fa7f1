"""What a gateway counts for `GET /metrics`, in the form that Prometheus reads.

    calls that are over                       ─┐
    calls upstream, proofs, renewals           ├─> Metrics (this worker) ──files of all workers──> whichever is asked
    every second: how late, how large, how many ─┘

Rules:
* no label holds what a client made up: models are those of upstream's lists, accounts those of the pool, and of
  anything there are so many, and then `other`;
* counters of a worker that died go on in the one that takes its place.
"""
