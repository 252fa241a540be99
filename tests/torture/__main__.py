"""`python -m tests.torture`: kills a broker again and again, and looks whether it lost anything.

python -m tests.torture --rounds 500             a fresh seed, which is printed
python -m tests.torture --rounds 500 --seed 7    the same rounds again, as far as real time allows
python -m tests.torture --judge journal.bin      the verdict on a journal that was kept
"""

import sys

from tests.torture.cli import main

if __name__ == "__main__":
    sys.exit(main())
