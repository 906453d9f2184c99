//! What the tests of the whole share; the tests themselves are in `tests/`, a file a subject.
