"""Settings of every test."""

import signal

from hypothesis import HealthCheck, settings

# The same examples in every run: a failure here is about the change at hand. 10 000 examples by hand find new ones. A
# time limit for each says more about the machine's load than about the code.
settings.register_profile("nfqdpi", deadline=None, derandomize=True, max_examples=60, print_blob=True,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("nfqdpi")

# A shell's background job ignores SIGINT, and so would every program that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
