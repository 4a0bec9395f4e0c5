"""The form of the documented routes: the worker's options, each as one plain field."""

import pytest
from gateway.errors import InvalidRequest
from gateway.fields import OptionFields


@pytest.mark.parametrize("name", ["languages", "suppress_tokens", "vad_parameters"])
@pytest.mark.parametrize("value", ["[", "[" * 100_000], ids=["open", "deep"])
def test_what_is_no_json_is_refused_by_name_however_deep_it_goes(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        OptionFields().add(name, value)
    assert caught.value.param == name
    assert caught.value.message == f"{name}: Value error, is not valid JSON"
