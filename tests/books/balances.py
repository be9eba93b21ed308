"""Sums up the postings of a Beancount journal on standard input: a line `account,currency,number` for each sum."""

import sys
from collections import defaultdict

from beancount import loader

entries, errors, _ = loader.load_string(sys.stdin.read())
sums = defaultdict(int)
for entry in entries:
    for posting in getattr(entry, "postings", None) or []:
        sums[posting.account, posting.units.currency] += posting.units.number
for (account, currency), number in sorted(sums.items()):
    print(f"{account},{currency},{number}")
sys.exit(f"{errors}" if errors else 0)
