"""Work that only some machines can do: what needs a GPU is tainted, and only a worker that tolerates the taint gets it.

The taint marks the work and the toleration the worker. Here two ordinary workers run beside this process, which plays
the machine with the GPU. All share one broker, and most of the work goes wherever there is room.

Other ways to run it: `dagorama run samples/gpu.py:Training 4 --toleration gpu`, or on machines of their own `worker`
here and `worker --toleration gpu` there.
"""

import os
from dataclasses import dataclass

from dagorama import DAGDefinition, dagorama, execute_worker, launch_workers, resolve
from dagorama_broker.launch import launch_broker


@dataclass(frozen=True)
class Model:
    loss: float
    #: The process that trained it.
    trained_by: int


class Training(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, shards: int) -> Model:
        return self.best([self.train(self.prepare(shard)) for shard in range(shards)])

    @dagorama().syncfn
    def prepare(self, shard: int) -> list[float]:
        return [(shard + 1) / (sample + 1) for sample in range(100)]

    @dagorama(taint_name="gpu").syncfn
    def train(self, samples: list[float]) -> Model:
        mean = sum(samples) / len(samples)
        loss = sum((sample - mean) ** 2 for sample in samples) / len(samples)
        return Model(loss=loss, trained_by=os.getpid())

    @dagorama().syncfn
    def best(self, models: list[Model]) -> Model:
        return min(models, key=lambda model: model.loss)


if __name__ == "__main__":
    with launch_broker(port=0), launch_workers(2):
        instance, promise = Training()(4)
        # Returns when there is nothing left that this worker could do, now or later.
        execute_worker(queue_tolerations=["gpu"], infinite_loop=False)
        model = resolve(instance, promise, wait_for_results=True)
    where = "here" if model.trained_by == os.getpid() else "where there is no GPU"
    print(f"the best model was trained {where}, its loss is {model.loss:.4f}")
