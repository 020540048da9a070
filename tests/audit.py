"""Asks the advisory database about the installed packages, with pip-audit; exits with 1 where one has a known fault.

Where the database cannot be reached, that is said, and it is no failure.
"""

import json
import subprocess
import sys


def audit() -> int:
    program = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--skip-editable"]
    done = subprocess.run(program, capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        packages = []
    known = [package for package in packages if "vulns" in package]
    if not known:
        reason = packages[0]["skip_reason"] if packages else (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"Skipped: pip-audit reaches no advisory database from here ({reason}).")
        return 0
    faults = [(package, fault) for package in known for fault in package["vulns"]]
    for package, fault in faults:
        mended = ", ".join(fault["fix_versions"]) or "none"
        print(f"{package['name']} {package['version']}: {fault['id']}; mended in: {mended}")
    print(f"{len(known)} of {len(packages)} packages audited, {len(faults)} known faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(audit())
