"""Counts the tests of a run that passed, failed and were skipped."""


def count(result):
    """Returns how many tests passed, failed and were skipped, and a line for each skipped test, which `tests/run` repeats at
    its end."""
    # Several subtests of one test may fail. A test of which a part was skipped has not passed.
    failed = {_id(test) for test, _ in result.failures + result.errors}
    failed |= {_id(test) for test in result.unexpectedSuccesses}
    reasons = {_id(test): reason for test, reason in result.skipped if _id(test) not in failed}
    for test, reason in reasons.items():
        print(f"skipped: {test}: {reason}")
    return result.testsRun - len(failed) - len(reasons), len(failed), len(reasons)


def _id(test):
    return getattr(test, "test_case", test).id()
