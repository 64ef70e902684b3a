"""Settings of all tests: no keys and no settings from outside, and no clock in judgements."""

import os

from hypothesis import HealthCheck, settings

for name in [name for name in os.environ if name.startswith("STORYD_") or name.endswith("_API_KEY")]:
    del os.environ[name]

settings.register_profile(
    "storyd",
    deadline=None,  # a busy machine is no failure
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
settings.load_profile("storyd")
