"""`python -m tests.sim`: runs worlds and says what went wrong in them.

python -m tests.sim                         fresh seeds, until one fails or --count of them have passed
python -m tests.sim --seed 7 --steps 500    one seed again, exactly as it was; -v writes down what happens
python -m tests.sim --seeds 0:10000 --jobs 2
python -m tests.sim --planted               finds bugs that are put in on purpose
"""

import sys

from tests.sim.cli import main

sys.exit(main())
