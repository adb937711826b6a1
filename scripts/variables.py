"""Parsers of the Makefile's variables for the scripts: an empty or invalid value is an error that names
the variable and the expected form."""

import argparse
import math
import re


def fault(name, text, expected, example):
    what = "is empty" if not text.strip() else f"is {text!r}"
    return argparse.ArgumentTypeError(f"{name} {what}: expected {expected}, as in {name}={example}")


def whole(name, example):
    """Returns a parser of whole numbers from 1 on."""
    def read(text):
        if not re.fullmatch(r"[0-9]{1,18}", text.strip()) or int(text) < 1:
            raise fault(name, text, "a whole number from 1 on", example)
        return int(text)

    return read


def positive(name, example):
    """Returns a parser of numbers above 0."""
    def read(text):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise fault(name, text, "a number above 0", example)
        return value

    return read


def counts(name, example):
    """Returns a parser of KIND=N,KIND=N,…; the program that gets the value checks the kinds."""
    def read(text):
        if not all(re.fullmatch(r"[a-z-]+=[0-9]{1,18}", part.strip()) for part in text.split(",")):
            raise fault(name, text, "how many faults of each kind", example)
        return text

    return read
