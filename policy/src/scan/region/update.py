#!/usr/bin/env python3
"""Writes `numbers.tsv` anew: update.py PhoneNumberMetadata.xml > numbers.tsv

The file is libphonenumber's (https://github.com/google/libphonenumber, resources/, Apache-2.0). For each
region it keeps what is dialled before a number at home, and the pattern of the numbers of people.
"""

import re
import sys
import xml.etree.ElementTree as tree

KINDS = ["fixedLine", "mobile", "personalNumber", "voip", "pager"]
REGIONS = """AD AL AT BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GE GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC
MD ME MK MT NL NO PL PT RO RS RU SE SI SK SM TR UA XK US CA AU NZ BR MX IN JP KR SG ZA IL""".split()

print("# Telephone numbers by region, written by update.py from libphonenumber's metadata (Apache-2.0).")
print("# Region, what is dialled before a number at home, pattern of the number.")
territories = {t.get("id"): t for t in tree.parse(sys.argv[1]).getroot().iter("territory")}
for region in sorted(REGIONS):
    territory = territories[region]
    patterns = []
    for kind in KINDS:
        pattern = territory.findtext(f"{kind}/nationalNumberPattern")
        pattern = pattern and re.sub(r"\s+", "", pattern)
        if pattern and pattern not in patterns:
            patterns.append(pattern)
    print(region, territory.get("nationalPrefix", ""), "|".join(patterns), sep="\t")
