"""The features of weekly sales by store and department, as `foretail.features.declaration` declares them.

Their rows are looked for in $FORETAIL_FEATURES (``data/features`` here by default), a folder per view; registering them
needs none.
"""

import os

from foretail.features.feast_objects import feast_objects, named
from foretail.features.table import weekly_declaration

globals().update(named(feast_objects(weekly_declaration(), os.environ.get("FORETAIL_FEATURES", "data/features"))))
