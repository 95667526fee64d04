"""Settings of every test."""

from hypothesis import settings

# A time limit for each example says more about the machine's load than about the code.
settings.register_profile("nfqdpi", deadline=None, print_blob=True)
settings.load_profile("nfqdpi")
