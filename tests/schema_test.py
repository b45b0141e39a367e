#!/usr/bin/python3
"""The policies' JSON Schema against the same files as the parser's tests.

Needs python3-jsonschema and python3-yaml. Ends in one line, `N passed, M failed`.
"""

import json
import pathlib
import re
import sys

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
POLICIES = ROOT / "policies"

# Mistakes that span several fields or lie in the text itself. The parser refuses them; a schema
# sees values one by one, after YAML was read, and accepts them.
BEYOND_A_SCHEMA = {
    # what YAML readers resolve, drop or let pass before a schema is asked
    "anchor-and-alias", "control-character", "duplicate-key", "duplicate-key-inside", "merge-key",
    "hexadecimal", "octal", "tag", "underscore",
    # one field against another
    "baseline-is-protected", "canary-in-baseline", "canary-is-protected",
    "blind-rollback-before-hold", "comparison-without-baseline", "comparison-without-limit",
    "count-undefined",
    "criterion-name-twice", "lease-too-short", "max-step-below-bake",
    "peek-above-evaluate", "settle-above-two-looks", "soak-below-bake", "soak-default-below-bake",
    "step-name-twice", "trigger-each-unknown", "trigger-each-without-segments",
    "trigger-k-above-n", "trigger-name-twice", "trigger-number-undefined",
    "trigger-window-below-look", "user-share-without-baseline", "weights-fall", "weights-repeat",
    # sizes of durations
    "endless-duration", "evaluate-too-often", "evaluate-too-seldom",
}


def mistakes(validator, path):
    """What is wrong with the file; None when the schema accepts it."""
    try:
        value = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError) as error:
        return f"not read: {error}"
    error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    return None if error is None else f"{error.json_path}: {error.message[:200]}"


def property_names(schema):
    """Every name that the schema lets a policy write, at any depth."""
    if isinstance(schema, list):
        for part in schema:
            yield from property_names(part)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "properties":
                yield from value
            yield from property_names(list(value.values()) if key == "properties" else value)


def checks():
    """Pairs of a sentence and what is wrong with it (None: nothing)."""
    schema = json.loads((POLICIES / "policy.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)

    good = sorted((ROOT / "tests/policies/good").glob("*.yaml")) + sorted(POLICIES.glob("*.yaml"))
    bad = sorted((ROOT / "tests/policies/bad").glob("*.yaml"))
    yield "there are files to try", None if len(good) > 8 and len(bad) > 100 else "too few"
    for path in good:
        yield f"{path.name} is accepted", mistakes(validator, path)
    for path in bad:
        fault = mistakes(validator, path)
        if path.stem in BEYOND_A_SCHEMA:
            yield (f"{path.name} is beyond a schema",
                   fault and f"it is refused ({fault}): remove it from the list")
        else:
            yield f"{path.name} is refused", None if fault else "it is accepted"
    unknown = BEYOND_A_SCHEMA - {path.stem for path in bad}
    yield "the list of what is beyond a schema names files", ", ".join(sorted(unknown)) or None

    for path in sorted(POLICIES.glob("*.yaml")):
        first = path.read_text(encoding="utf-8").split("\n", 1)[0]
        wanted = "# yaml-language-server: $schema=policy.schema.json"
        yield f"editors find the schema by {path.name}", None if first == wanted else first
    readme = (POLICIES / "README.md").read_text(encoding="utf-8")
    for name in sorted(set(property_names(schema))):
        known = re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", readme)
        yield f"policies/README.md explains {name}", None if known else "it is not there"


def main():
    passed = failed = 0
    for sentence, fault in checks():
        if fault is None:
            passed += 1
        else:
            failed += 1
            print(f"FAILED {sentence}: {fault}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
