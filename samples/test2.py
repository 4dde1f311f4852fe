"""Four pieces of work of 2 s each, and a count of what came out."""

from collections import Counter
from time import perf_counter, sleep

from dagorama import DAGDefinition, dagorama, launch_workers, resolve
from dagorama_broker.launch import launch_broker


class MyTask(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> Counter[int]:
        return self.rollup([self.perform_work(i) for i in range(4)])

    @dagorama().syncfn
    def perform_work(self, identifier: int) -> int:
        sleep(2)
        return identifier // 2

    @dagorama().syncfn
    def rollup(self, responses: list[int]) -> Counter[int]:
        return Counter(responses)


if __name__ == "__main__":
    started_at = perf_counter()
    with launch_broker(port=0), launch_workers(4):
        instance, promise = MyTask()()
        response = resolve(instance, promise, wait_for_results=True)
        print(f"{response} in {perf_counter() - started_at:.1f} s")
