"""The places of ready nodes: entering a lane, leaving it, and being kept out of it for a while.

Taking the first node of a view is O(log n) in its ready nodes and lanes, whatever else there is. A view knows which of
its workers could take something. A worker that holds all that it may is not looked at again before something about it
has changed (`ReadyQueues.stir`), so a grant does not cost more where there are more of them.

A ready node may be *parked*: kept out of its lane because its instance is paused or a limit is full. It costs nothing
there until it is let in again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from weakref import WeakValueDictionary

from dagorama_broker.core.containers.timers import Timers
from dagorama_broker.core.model.entities import Instance, Lane, Limit, Node, View, Worker
from dagorama_broker.core.model.filters import Filter
from dagorama_broker.core.model.order import Group
from dagorama_broker.core.model.states import READY
from dagorama_broker.core.model.values import FunctionSpec, Park, QueueControl
from dagorama_broker.core.ready.limits import limits_of

#: So many nodes are made ready, ended, parked, let in or brought to other places at once: that takes some milliseconds.
_AT_ONCE = 2_000

#: What tells a lane from others: queue, taint, function, code version and needs; and the name of the group.
_Key = tuple[tuple[str, str, str, str, frozenset[str]], str]


class ReadyQueues:
    """All lanes and views."""

    def __init__(self) -> None:
        self.at_once = _AT_ONCE
        self.lanes: WeakValueDictionary[_Key, Lane] = WeakValueDictionary()
        self.views: dict[Filter, View] = {}
        self.groups: WeakValueDictionary[str, Group] = WeakValueDictionary()
        self.paused: set[str] = set()  #: queues of which nothing is granted
        self.limits: dict[str, Limit] = {}  #: caps of queues
        self.is_shared = False  #: whether there has been a group, so that it has to be counted who gets how much
        self.start_timers: Timers[Node] = Timers()  #: when nodes that are ready have been so for too long
        self.asking: dict[Worker, None] = {}  #: those that are to be told when nothing is left
        self.sorting = 0  #: grows as views of lanes change, so that limits see who could take what waits for them
        self.waited: dict[Limit, None] = {}  #: limits that nodes wait for
        self.half_woken: dict[Limit, None] = {}  #: limits that have room for more than were let in at once
        #: By instance that was paused, let go on or given another priority, the nodes that are still to be placed anew.
        self.moving: dict[Instance, deque[Node]] = {}
        self._is_sorted_anew = False
        self._numbers = 0  #: the last one given to a worker
        self._stirred: list[Worker] = []
        self._offered: dict[View, None] = {}  #: views that may have a node for somebody
        self._served_us = 0  #: what the group that was granted a node last had been granted by then

    def lane(self, spec: FunctionSpec, group: str = "", needs: frozenset[str] = frozenset()) -> Lane:
        """Return the lane of a function's nodes, making it if need be. It lives while a function refers to it."""
        kind = (spec.queue, spec.taint, spec.name, spec.code_version, needs)
        lane = self.lanes.get((kind, group))
        if lane is None:
            lane = self.lanes[kind, group] = Lane(*kind, group=self._group(group))
            lane.paused = lane.queue in self.paused
            lane.limit = self.limits.get(lane.queue)
            for view in self.views.values():
                self._connect(view, lane)
        return lane

    def _group(self, name: str) -> Group:
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group(name)
            self.is_shared |= bool(name)
        return group

    # -- workers ------------------------------------------------------------------------------------------------------

    def enter(self, worker: Worker) -> None:
        """Let a worker take part in its view."""
        if not worker.number:  # else it goes from one view to another
            self._numbers += 1
            worker.number = self._numbers
        worker.view.workers[worker] = None
        if worker.exit_when_drained or worker.exit_when_mismatched:
            self.asking[worker] = None
        self.stir(worker)

    def leave(self, worker: Worker) -> None:
        """Take a worker out of its view, which goes with its last worker."""
        view = worker.view
        view.forget(worker)
        self.asking.pop(worker, None)
        if not view.workers and self.views.pop(view.filter, None) is not None:
            self._offered.pop(view, None)
            for lane in view.lanes:
                lane.views.remove(view)
                self._sort(lane)

    def stir(self, worker: Worker) -> None:
        """Note that a worker may be able to take other nodes than before."""
        if not worker.stirred:
            worker.stirred = True
            self._stirred.append(worker)

    def take_stirred(self) -> list[View]:
        """Return the views whose workers may now take something, since their workers or nodes have changed."""
        stirred, self._stirred = self._stirred, []
        views, self._offered = self._offered, {}
        for worker in stirred:
            worker.stirred = False
            view = worker.view
            if worker in view.workers:
                view.place(worker)
                views[view] = None
        return list(views)

    def look_again(self, view: View) -> None:
        """Look at a view again with the next grant, whether or not anything changes."""
        self._offered[view] = None

    def _sort(self, lane: Lane) -> None:
        lane.set_audience()
        self.sorting += 1
        self._is_sorted_anew = True

    def view(self, filter: Filter) -> View:
        """Return the view for a filter, making it if need be."""
        view = self.views.get(filter)
        if view is None:
            view = self.views[filter] = View(filter)
            for lane in self.lanes.values():
                if self._connect(view, lane):
                    self._sort(lane)
        return view

    def _connect(self, view: View, lane: Lane) -> bool:
        if not view.filter.admits(lane):
            return False
        view.lanes.add(lane)
        lane.views.append(view)
        if not lane.paused:
            self._offer(lane, [view])
        return True

    # -- nodes --------------------------------------------------------------------------------------------------------

    def push(self, node: Node) -> None:
        """Put a node that has just become ready in its place."""
        lane = node.function.lane
        if node.instance.control.paused:
            self._park(node, Park.PAUSED)
            return
        if not lane.ready and not lane.held:
            self._wake_group(lane, node.instance.control.priority)
        lane.ready += 1
        suspect = node.losses > 0
        line = lane.lines[suspect]
        order = node.place = node.order
        if line.add(order, node) and not lane.paused:
            for view in lane.views:
                view.merges[suspect].offer(lane, line, order)
                self._offered[view] = None

    def remove(self, node: Node) -> None:
        """Take out a ready node, parked or not, that is leased now."""
        lane = node.function.lane
        if node.parked is None:
            lane.ready -= 1
            suspect = node.place not in lane.lines[False].things
            line = lane.lines[suspect]
            line.drop(node.place)
            if not line.things:
                for view in lane.views:
                    view.merges[suspect].forget(lane)
        else:
            lane.parked -= 1
            parked, node.parked = node.parked, None
            if isinstance(parked, Park):
                return
            parked.leave(node.place, lane, self.sorting)
            if not parked.waiting:
                self.waited.pop(parked, None)
            lane.held -= 1
        if not lane.ready and not lane.held:
            lane.group.lanes -= 1

    def withdraw(self, node: Node, now: float) -> None:
        """Take out a ready node that has ended or is paused. Others may start in its stead."""
        self.remove(node)
        for limit in limits_of(node):
            if limit.waiting:
                self.wake(limit, now)

    def hide(self, node: Node) -> None:
        """Take a ready node out of its lane, to `show` it there again before the command ends."""
        node.function.lane.held += 1  # so that its group is not taken for idle
        self.remove(node)

    def show(self, node: Node) -> None:
        """Put a node back that `hide` has taken out."""
        self.push(node)
        node.function.lane.held -= 1

    def _park(self, node: Node, reason: Park | Limit) -> None:
        node.parked = reason
        node.function.lane.parked += 1

    # -- groups -------------------------------------------------------------------------------------------------------

    def _wake_group(self, lane: Lane, priority: int) -> None:
        """Note that a group has one lane more. If it had none, it has no claim on the time that passed without it."""
        group = lane.group
        if self.is_shared and not group.lanes:
            # The furthest clock: an idle worker's stands still, and the new group would go before all others.
            start_us = max((self._clock(view, priority) for view in lane.views), default=self._served_us)
            if group.served_us < start_us:
                group.serve(start_us)
        group.lanes += 1

    def _clock(self, view: View, priority: int) -> int:
        """Return the virtual time, at a priority, of the groups that a view takes from."""
        clock = view.clock.get(priority)
        if clock is not None:
            return clock
        first = view.peek(with_suspects=False)  # nothing has been granted yet
        return first.function.lane.group.served_us if first is not None else self._served_us

    def serve(self, node: Node, view: View) -> None:
        """Charge a node to its group, which a worker of this view is granted; call it where `is_shared`."""
        group = node.function.lane.group
        view.clock[node.instance.control.priority] = group.served_us
        self._served_us = max(self._served_us, group.served_us)
        group.serve(group.served_us + int(node.charge_s * 1e6))

    # -- limits -------------------------------------------------------------------------------------------------------

    def park(self, node: Node, limit: Limit, now: float) -> None:
        """Keep a ready node out of its lane until a limit has room. Other nodes get its room in its other limits."""
        node.function.lane.held += 1  # first, so that its group is not taken for idle
        self.remove(node)
        self._wait(node, limit)
        for other in limits_of(node):
            if other is not limit and other.waiting:
                self.wake(other, now)

    def _wait(self, node: Node, limit: Limit) -> None:
        self._park(node, limit)
        node.place = node.order
        limit.wait(node.place, node, self.sorting)
        self.waited[limit] = None

    def wake(self, limit: Limit, now: float) -> None:
        """Let in again as many nodes for each audience as a limit has room for: nobody knows which one takes some."""
        room = limit.room(now)
        if not room or limit in self.half_woken:  # that goes on with the next grant
            return
        if limit.sorting != self.sorting:
            limit.sort(self.sorting)
        for audience, waiters in list(limit.waiting.items()):
            left = min(room, self.at_once)
            while left and (node := waiters.first()) is not None:
                waiters.drop(node.place, node.function.lane)
                left -= self._let_in(node)
            if not waiters:
                del limit.waiting[audience]
            elif room > self.at_once:
                self.half_woken[limit] = None
        if not limit.waiting:
            self.waited.pop(limit, None)

    def wake_again(self, now: float) -> None:
        """Let in further nodes: too many waited for once, or workers came or went and other nodes are theirs now."""
        half_woken, self.half_woken = self.half_woken, {}
        for limit in half_woken:
            self.wake(limit, now)
        if self._is_sorted_anew:
            self._is_sorted_anew = False
            for limit in list(self.waited):
                self.wake(limit, now)

    def _let_in(self, node: Node) -> bool:
        """Let in a node that waited for a limit; return whether any worker that takes its kind is sure to take it."""
        lane = node.function.lane
        node.parked = None
        lane.parked -= 1
        self.push(node)
        lane.held -= 1  # last, so that its group is not taken for idle
        if not lane.ready and not lane.held:
            lane.group.lanes -= 1
        # Its instance may be paused, and each worker that could take a suspect may have one.
        return node.parked is None and not is_suspect(node)

    # -- pauses and priorities ----------------------------------------------------------------------------------------

    def place_anew(self, instance: Instance, now: float) -> None:
        """Move the ready nodes of an instance to their places, since it was paused, goes on or has another priority.

        Very many go bit by bit, in creation order. A node that is still in its former place in a lane is not granted
        before its turn, see `is_misplaced`; a limit lets in by former places meanwhile.
        """
        ready = READY
        self.moving[instance] = deque([node for node in instance.nodes.values() if node.state is ready])
        self.move_on(now)

    def move_on(self, now: float) -> None:
        """Move so many nodes to their places."""
        room = self.at_once
        while self.moving and room > 0:
            instance, nodes = next(iter(self.moving.items()))
            for _ in range(min(room, len(nodes))):
                self.place(nodes.popleft(), now)
                room -= 1
            if not nodes:
                del self.moving[instance]

    @staticmethod
    def is_misplaced(node: Node) -> bool:
        """Return whether a node in its lane is still in its former place. Ask only while some are `moving`."""
        return node.instance.control.paused or node.place != node.order

    def place(self, node: Node, now: float) -> None:
        """Move a node to its place, if it is still ready."""
        if node.state is not READY:
            return
        lane, parked = node.function.lane, node.parked
        if parked is Park.PAUSED:
            if not node.instance.control.paused:
                self.remove(node)
                self.push(node)
        elif parked is None and node.instance.control.paused:
            self.withdraw(node, now)
            self._park(node, Park.PAUSED)
        elif node.place != node.order:
            lane.held += 1  # so that its group is not taken for idle
            self.remove(node)
            if parked is None:
                self.push(node)
                lane.held -= 1
            else:
                self._wait(node, parked)

    def pause_queue(self, queue: str) -> None:
        """Hold the nodes in a queue."""
        self.paused.add(queue)
        for lane in self.lanes_of(queue):
            if not lane.paused:
                lane.paused = True
                self._sort(lane)
                for view in lane.views:
                    for merge in view.merges:
                        merge.forget(lane)

    def resume_queue(self, queue: str) -> None:
        """Grant the nodes in a queue again."""
        self.paused.discard(queue)
        for lane in self.lanes_of(queue):
            if lane.paused:
                lane.paused = False
                self._sort(lane)
                self._offer(lane, lane.views)

    def control(self, queue: str) -> QueueControl:
        """Return the settings that people have given a queue."""
        limit = self.limits.get(queue)
        return QueueControl(paused=queue in self.paused, running_max=limit.spec.max if limit else 0)

    def set_limit(self, queue: str, limit: Limit | None) -> None:
        """Cap a queue, or take its cap away."""
        self.limits.pop(queue, None)
        if limit is not None:
            self.limits[queue] = limit
        for lane in self.lanes_of(queue):
            lane.limit = limit

    def controls(self) -> dict[str, QueueControl]:
        """Return the settings that people have given, by queue, without the queues that are at the defaults."""
        return {queue: self.control(queue) for queue in self.paused | self.limits.keys()}

    def lanes_of(self, queue: str) -> list[Lane]:
        """Return the lanes of a queue."""
        return [lane for lane in self.lanes.values() if lane.queue == queue]

    def _offer(self, lane: Lane, views: Iterable[View]) -> None:
        """Tell views of the nodes in a lane."""
        for suspect, line in enumerate(lane.lines):
            first = line.first()
            if first is not None:
                for view in views:
                    view.merges[suspect].offer(lane, line, first)
                    self._offered[view] = None


def is_suspect(node: Node) -> bool:
    """Return whether an earlier worker was lost with this node in its hands."""
    return node.losses > 0
