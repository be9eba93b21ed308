#!/usr/bin/env python3
"""Verifies an export of a ledger's events against a signed head, without any code of Counterfoil's.

    python3 verify_export.py --key 'VERIFIER KEY' events.ndjson checkpoint

`events.ndjson` is what GET /v1/audit/events or GET /v1/events (as application/x-ndjson) gives, `checkpoint` what
GET /v1/audit/checkpoint gives. Needs Python 3.9 and the `openssl` program, version 3, for Ed25519. Ends with 0 if the
head is signed by the key, the events are exactly those that it covers, and available minus debt after each is what it
was before and the amount; otherwise with 1, and says where: at which position, or between which if only the root is wrong.
It does not look at what is held or disputed, at revenue, at an earlier head, nor at events behind the head.

Formats: signed note https://c2sp.org/signed-note, checkpoint https://c2sp.org/tlog-checkpoint, tree RFC 6962.
"""

import argparse
import base64
import hashlib
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

# How DER writes an Ed25519 public key, before its 32 bytes.
DER_PREFIX = bytes.fromhex("302a300506032b6570032100")


def fail(words):
    sys.exit(f"WRONG {words}")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def read_key(text):
    """Name, id and public key of a verifier key."""
    name, key_id, encoded = text.strip().split("+", 2)
    key = base64.b64decode(encoded, validate=True)
    if key[0] != 1 or len(key) != 33:
        fail("the verifier key is not Ed25519")
    if sha256(name.encode(), b"\n", key)[:4].hex() != key_id:
        fail("the verifier key was not copied whole: its id does not fit")
    return name, bytes.fromhex(key_id), key[1:]


def is_signed(public, text, signature):
    with tempfile.TemporaryDirectory() as folder:
        files = {"key": DER_PREFIX + public, "text": text, "signature": signature}
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin"]
        command += ["-inkey", "key", "-in", "text", "-sigfile", "signature"]
        return subprocess.run(command, cwd=folder, capture_output=True).returncode == 0


def open_checkpoint(note, key):
    """Origin, size and root of a checkpoint that the key has signed."""
    name, key_id, public = read_key(key)
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    for line in signatures.splitlines():
        mark, signer, encoded = line.split(" ")
        signature = base64.b64decode(encoded, validate=True)
        if mark == "\u2014" and signer == name and signature[:4] == key_id:
            if not is_signed(public, text.encode(), signature[4:]):
                fail("the signature of the head is wrong")
            origin, size, root = text.split("\n")[:3]
            if origin != name:
                fail(f"the head is of the log {origin}, and the key is of {name}")
            return origin, int(size), base64.b64decode(root, validate=True)
    fail("the head is not signed by this key")


def canonical(line, ledger):
    """The sealed bytes of an event, and its fields. All numbers are whole and below 2^53, all keys are ASCII: what Python
    writes with sorted keys is what RFC 8785 asks for."""
    fields = json.loads(line.decode())
    if "ledger" not in fields:
        fields.pop("account_id", None)
        fields.pop("request_id", None)
        if "account_number" in fields:
            fields["account"] = fields.pop("account_number")
        fields["ledger"] = ledger
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode(), fields


class Tree:
    """The roots of complete subtrees, the largest first, each with its number of leaves."""

    def __init__(self):
        self.peaks = []

    def add(self, leaf):
        self.peaks.append((1, sha256(b"\x00", leaf)))
        while len(self.peaks) > 1 and self.peaks[-1][0] == self.peaks[-2][0]:
            (size, right), (_, left) = self.peaks.pop(), self.peaks.pop()
            self.peaks.append((size * 2, sha256(b"\x01", left, right)))

    def root(self):
        if not self.peaks:
            return sha256()
        root = self.peaks[-1][1]
        for _, peak in reversed(self.peaks[:-1]):
            root = sha256(b"\x01", peak, root)
        return root


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--key", required=True, help="what verifies the head")
    arguments.add_argument("events", help="one event per line")
    arguments.add_argument("checkpoint", help="the signed head")
    given = arguments.parse_args()
    try:
        origin, size, root = open_checkpoint(Path(given.checkpoint).read_bytes().decode(), given.key)
        ledger = origin.split("/")[-2]
    except (ValueError, IndexError):
        fail("the head is no signed checkpoint of a ledger, or the key is no verifier key")
    tree, balances, position = Tree(), {}, 0
    with open(given.events, "rb") as lines:
        for position, line in enumerate(itertools.islice(lines, size), 1):
            try:
                sealed, event = canonical(line, ledger)
                if event["position"] != position:
                    fail(f"position {position}: there is no event; the next one is at {event['position']}")
                if event["ledger"] != ledger:
                    fail(f"position {position}: the event is of the ledger {event['ledger']}")
                tree.add(sealed)
                if "unit" in event:
                    whose = (event["account"], event["unit"])
                    balances[whose] = balances.get(whose, 0) + event["amount"]
                    if balances[whose] != event["balance_after"]:
                        fail(f"position {position}: the balance after it does not follow from those before it")
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                fail(f"position {position}: the line is no whole event; it is the first that is not")
    if position < size:
        fail(f"position {position + 1}: the head covers {size} events, and there are only {position}")
    if tree.root() != root:
        fail(f"positions 1 to {size}: one of these events is not what was signed; the root does not tell which")
    print(f"{origin}: {size} events are what was signed, and {len(balances)} balances follow from their amounts")


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        fail(f"a file cannot be read, or there is no openssl: {error}")
