"""What holds for every test: how long an example takes says nothing on a busy machine."""

from hypothesis import settings

settings.register_profile("foretail", deadline=None)
settings.load_profile("foretail")
