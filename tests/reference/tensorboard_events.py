#!/usr/bin/env python3
"""A golden event file by TensorBoard's own record writer and messages.

    python tests/reference/tensorboard_events.py trainer/tests/golden/scalars.tfevents
"""

import sys

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


def scalars(time, step, values):
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in values]
    return Event(wall_time=time, step=step, summary=Summary(value=values))


def main():
    with open(sys.argv[1], "wb") as file:
        writer = RecordWriter(file)
        for event in (
            Event(wall_time=1700000000.25, file_version="brain.Event:2"),
            scalars(1700000001.5, 1, [("loss/total", 1.5), ("learning_rate", 1e-4)]),
            scalars(1700000002.75, 300, [("loss/total", 0.0)]),
        ):
            writer.write(event.SerializeToString())
        writer.flush()


if __name__ == "__main__":
    main()
