"""How many tests of a run passed, failed and were skipped."""


def count(result):
    """The numbers of tests that passed, failed and were skipped; a line that `tests/run` repeats at its end for each that was skipped."""
    # Several subtests may fail in one test, and one that was skipped in part has not passed.
    failed = {_id(test) for test, _ in result.failures + result.errors}
    failed |= {_id(test) for test in result.unexpectedSuccesses}
    reasons = {_id(test): reason for test, reason in result.skipped if _id(test) not in failed}
    for test, reason in reasons.items():
        print(f"skipped: {test}: {reason}")
    return result.testsRun - len(failed) - len(reasons), len(failed), len(reasons)


def _id(test):
    return getattr(test, "test_case", test).id()
