"""Write user and password of the mounted Secret to the file that Airflow's simple auth manager reads.

Usage: write_passwords.py SECRET_FOLDER FILE
"""

import json
import sys
from pathlib import Path

secret, file = map(Path, sys.argv[1:])
user, password = ((secret / key).read_text() for key in ("username", "password"))
file.write_text(json.dumps({user: password}))
