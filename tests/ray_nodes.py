"""A Ray of three nodes on this machine, whose parts can be killed."""

import contextlib
import os
import signal
import time

from processes import command_of, descendants

CORES = 1  # a node


class Nodes:
    """A head and other nodes, of one core each."""

    def __init__(self, others):
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": CORES, "include_dashboard": False, "object_store_memory": 2**27},
        )
        self.others = []
        for _ in range(others):
            self.add_node()
        self.address = self._cluster.address

    def add_node(self):
        """One node more."""
        self.others.append(self._cluster.add_node(num_cpus=CORES, object_store_memory=2**27))

    def kill_worker(self, generator, names=(b"ray::ShardWorker",)):
        """SIGKILL to one of the processes that make shards, or of others by how their names begin."""
        os.kill(generator.choice(self.workers(names)), signal.SIGKILL)

    def kill_node(self, generator):
        """SIGKILL to the raylet of a node that is neither the head nor ours; its workers die with it."""
        import ray

        ours = ray._private.worker.global_worker.node  # None where another process is the driver
        sockets = {None if ours is None else ours._raylet_socket_name}
        strangers = [node for node in self.others if node._raylet_socket_name not in sockets]
        self._cluster.remove_node(generator.choice(strangers), allow_graceful=False)

    def kill_head(self):
        """SIGKILL to the cluster's store and to the head's raylet."""
        head = self._cluster.head_node
        head.kill_gcs_server(check_alive=False)
        head.kill_raylet(check_alive=False)

    def workers(self, names=(b"ray::ShardWorker",)):
        """Process ids of the workers of a campaign, or of others."""
        return [pid for pid in descendants(os.getpid()) if command_of(pid).startswith(names)]

    def close(self):
        """End every process."""
        self._cluster.shutdown()


@contextlib.contextmanager
def three_nodes(others=2):
    """A Ray of three nodes (or of so many others than the head) with a private token, ended afterwards."""
    from memflux.platform.cluster import make_token_private

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    make_token_private()
    nodes = Nodes(others)
    try:
        yield nodes
    finally:
        nodes.close()
        for pid in descendants(os.getpid()):
            if b"raylet" in command_of(pid) or b"gcs_server" in command_of(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
