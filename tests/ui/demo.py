"""The instances that the pictures of the docs show: `fill` starts them, on a broker with workers."""

from __future__ import annotations

import logging
import time

from dagorama import (
    DAGDefinition,
    Limit,
    Queue,
    StaticRetry,
    acting_as,
    attach,
    context,
    dagorama,
    instance_options,
    instances,
)
from dagorama.workflows.formats import RunOptions, prepare_run
from dagorama.workflows.jobs.reading import read
from dagorama.workflows.running import start_workflow

logger = logging.getLogger("etl")

#: The station whose file is bad.
BAD = 137


class Etl(DAGDefinition):
    """Loads the readings of weather stations."""

    @dagorama(queue_name="etl")
    def entrypoint(self, stations: int, bad: int = -1) -> int:
        return self.total([self.load(number, self.extract(number, bad)) for number in range(1, stations + 1)])

    @dagorama(queue_name="etl", label="station-{number:03}.csv", retry=StaticRetry(2, 0.1))
    def extract(self, number: int, bad: int) -> list[float]:
        print(f"reading station-{number:03}.csv")
        if number % 19 == 7:
            logger.warning("skipped %r: it is no number", "2026-03-01;3,5")
        if number == bad:
            logger.error("the file is cut off after line 1")
            raise ValueError(f"station-{number:03}.csv: line 2 has 3 columns where 2 were expected")
        return [3.5, 4.0, 2.5, 3.0]

    @dagorama(queue_name="etl", label="rows of station-{number:03}")
    def load(self, number: int, readings: list[float]) -> int:
        print(f"{len(readings)} rows")
        return len(readings)

    @dagorama(queue_name="etl")
    def total(self, counts: list[int]) -> int:
        return sum(counts)


class Forecast(DAGDefinition):
    """Simulates the weather of regions, which takes a while."""

    @dagorama(queue_name="forecast")
    def entrypoint(self, regions: int, bad: int) -> int:
        return self.publish(
            [self.render(one, self.simulate(one, self.fetch(one), bad)) for one in range(1, regions + 1)]
        )

    @dagorama(queue_name="forecast", label="observations {region:02}")
    def fetch(self, region: int) -> int:
        time.sleep(0.1 + region % 3 / 10)
        print(f"{region * 17} observations")
        return region * 17

    @dagorama(
        queue_name="forecast",
        label="region {region:02}",
        retry=StaticRetry(2, 1),
        limit=[Limit("licences", max=2), Limit(lambda region: f"grid {region % 3}", per_second=3)],
    )
    def simulate(self, region: int, observations: int, bad: int) -> float:
        parts = 4 + region * 7 % 9
        for part in range(parts):
            context().progress(part / parts, f"hour {part * 6}")
            print(f"hour {part * 6} of {parts * 6}, {observations} observations")
            time.sleep(0.2)
        if region % 5 == 3:
            logger.warning("few observations in region %d: the error may be large", region)
        if region == bad:
            raise ArithmeticError(f"region {region}: the pressure does not converge after 40 steps")
        return observations / parts

    @dagorama(queue_name="forecast", label="map of region {region:02}")
    def render(self, region: int, weather: float) -> str:
        time.sleep(0.15)
        return f"region {region}: {weather:.1f}"

    @dagorama(queue_name="forecast")
    def publish(self, maps: list[str]) -> int:
        return len(maps)


class NightlyReport(DAGDefinition):
    """Queries and renders."""

    @dagorama(queue_name="reports")
    def entrypoint(self, day: str) -> str:
        return self.render([self.query(day, region) for region in ("north", "south", "east", "west")])

    @dagorama(queue_name="reports", label="{region}")
    def query(self, day: str, region: str) -> int:
        time.sleep(0.05)
        return len(day) + len(region)

    @dagorama(queue_name="reports")
    def render(self, counts: list[int]) -> str:
        return f"{sum(counts)} orders"


class TrainModel(DAGDefinition):
    """Tries settings, on workers with a GPU, of which there are none."""

    @dagorama(queue_name="training")
    def entrypoint(self, trials: int) -> float:
        return self.best([self.trial(number) for number in range(trials)])

    @dagorama(queue_name="training", taint_name="gpu", label="trial {number}")
    def trial(self, number: int) -> float:
        return 1 / (number + 1)

    @dagorama(queue_name="training")
    def best(self, scores: list[float]) -> float:
        return max(scores)


def maps(regions: int, bad: int = 0) -> str:
    """Start a run of a workflow file whose jobs save a file each, of which one is bad; return its id."""
    lines = ["name: maps", "jobs:"]
    for one in range(1, regions + 1):
        draw = (
            "echo 'no observations' >&2; exit 3"
            if one == bad
            else f"head -c {one * 70_000} /dev/zero > map-{one:02}.png"
        )
        lines += [f"- name: region {one:02}", "  cmd: sh", f'  args: [-c, "{draw}"]']
        lines += [f"  outputs: [{{local: map-{one:02}.png, save: true}}]"]
    workflow = read("\n".join(lines), "weather/maps.yaml").workflow
    return str(start_workflow(workflow, prepare_run(workflow, RunOptions())).instance_id)


def fill() -> dict[str, str]:
    """Start the instances, and wait for those that end; return the ids of those that are shown, by name."""
    for day in range(1, 6):
        with instance_options(key=f"report 2026-03-{day:02}", tags={"team": "finance"}):
            NightlyReport()(f"2026-03-{day:02}")
    with instance_options(tags={"customer": "c9", "region": "eu-west"}):
        Etl()(60)
    with instance_options(key="readings of march", tags={"customer": "c12"}):
        failed, _ = Etl()(200, BAD)
    with instance_options(tags={"customer": "c4"}):
        many, _ = Etl()(2500)
    for one in instances(state="running"):
        ended(str(one.id))
    TrainModel()(12)
    stopped, _ = TrainModel()(40)
    stopped.cancel()
    with instance_options(tags={"customer": "c7"}):
        running, _ = Forecast()(90, 4)
    one = attach(running.instance_id)
    with acting_as("mira@weather"):
        one.pause()
        one.set_priority(3)
        one.resume()
    with acting_as("on call"):
        Queue("training").cap(4)
        Queue("reports").pause()
    return {"failed": str(failed.instance_id), "many": str(many.instance_id), "running": str(running.instance_id)}


def ended(instance_id: str) -> None:
    """Wait until an instance has ended."""
    one = attach(instance_id)
    while not one.done():
        time.sleep(0.1)
