"""Properties are checked alike everywhere: the same examples each time, and nothing written into the checkout but ``.local``."""

from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

set_hypothesis_home_dir(Path(__file__).resolve().parents[2] / ".local" / "tests" / "hypothesis")
settings.register_profile(
    "unit",
    database=None,
    deadline=None,  # the machine may be busy
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("unit")
