"""Settings of every test."""

import signal

from hypothesis import settings

# A time limit for each example says more about the machine's load than about the code.
settings.register_profile("nfqdpi", deadline=None, print_blob=True)
settings.load_profile("nfqdpi")

# A shell's background job ignores SIGINT, and so would every program that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
