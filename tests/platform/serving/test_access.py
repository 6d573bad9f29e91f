import stat

import pytest

from memflux.errors import DataError, InvalidValue
from memflux.platform.serving.access import digest, matches, new_token, read_token, token_in, write_token


def test_token_file_is_for_its_owner_alone_and_made_once(tmp_path):
    path = tmp_path / "deep" / "token"
    token = token_in(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token_in(path) == token == read_token(path)
    assert len(token) >= 40


def test_existing_file_is_neither_overwritten_nor_trusted_when_open(tmp_path):
    path = tmp_path / "token"
    path.write_text("x" * 40)
    path.chmod(0o644)
    with pytest.raises(InvalidValue, match="exists"):
        write_token(path, new_token())
    with pytest.raises(DataError, match=r"open to others \(mode 0644\)"):
        token_in(path)


@pytest.mark.parametrize("token", ["short", "x" * 20 + "\n", "with a blank in the middle", "ä" * 20])
def test_unfit_tokens_are_refused(tmp_path, token):
    with pytest.raises(InvalidValue, match="the token has"):
        write_token(tmp_path / "token", token)


def test_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_token(tmp_path / "none")


def test_matches_wants_scheme_and_token():
    token = new_token()
    assert matches(f"Bearer {token}", digest(token))
    assert matches(f"bearer {token}", digest(token))
    for header in ("", token, f"Basic {token}", f"Bearer {token}x", f"Bearer {new_token()}"):
        assert not matches(header, digest(token))
