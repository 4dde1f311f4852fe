"""Four pieces of work of 2 s each, and a count of what came out."""

from collections import Counter
from time import perf_counter, sleep


class MyTask:
    def entrypoint(self) -> Counter[int]:
        return self.rollup([self.perform_work(i) for i in range(4)])

    def perform_work(self, identifier: int) -> int:
        sleep(2)
        return identifier // 2

    def rollup(self, responses: list[int]) -> Counter[int]:
        return Counter(responses)


if __name__ == "__main__":
    started_at = perf_counter()
    response = MyTask().entrypoint()
    print(f"{response} in {perf_counter() - started_at:.1f} s")
