"""Settings of every test: properties are never judged by the clock."""

from hypothesis import HealthCheck, settings

settings.register_profile("volano", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("volano")
