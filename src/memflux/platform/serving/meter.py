"""What an endpoint did, for Prometheus: exported by the Ray that it runs on, as `ray_memflux_...`."""

from ray.util.metrics import Counter, Histogram

SECONDS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]  # bounds of the buckets


class RayMeter:
    """Counters of one replica; see `desk.Meter`."""

    def __init__(self) -> None:
        tags = ("model", "route")
        self._questions = Counter("memflux_questions", "Questions answered.", tags)
        self._devices = Counter("memflux_devices_asked", "Devices answered for.", tags)
        self._batches = Histogram("memflux_batch_seconds", "Seconds of a batch in the model.", SECONDS, tags)
        self._refused = Counter("memflux_refused", "Questions refused, by HTTP status.", (*tags, "status"))

    def answered(self, model: str, route: str, questions: int, devices: int, seconds: float) -> None:
        """Count a batch. Counters take no zero."""
        tags = {"model": model, "route": route}
        self._questions.inc(questions, tags)
        if devices:
            self._devices.inc(devices, tags)
        self._batches.observe(max(seconds, 1e-6), tags)

    def refused(self, model: str, route: str, status: int) -> None:
        """Count a question that was refused."""
        self._refused.inc(1, {"model": model, "route": route, "status": str(status)})
