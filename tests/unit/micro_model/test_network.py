"""The network is Whisper's, it learns, and what is trained is exported and transcribes.

Needs PyTorch, which the services do not: skipped where it is not installed.
"""

from pathlib import Path

import ctranslate2
import numpy as np
import pytest
from faster_whisper import WhisperModel, decode_audio
from house import DATA

from tools.micro_model.clips import Clip, load_set, save_set
from tools.micro_model.model_file import read_model
from tools.micro_model.reference import to_reference
from tools.micro_model.windows import Composer

torch = pytest.importorskip("torch")

from tools.micro_model import (  # noqa: E402
    attention,
    average,
    batches,
    checkpoint,
    export,
    features,
    learner,
    muon,
    network,
    precision,
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)


@pytest.fixture
def clips(tmp_path: Path) -> list[tuple[Clip, np.ndarray]]:
    """Two clips of a second of noise with texts of the grammar."""
    noise = np.random.default_rng(1).integers(-9000, 9000, 32000).astype(np.int16)
    texts = [("en", "Yes, of course."), ("de", "Ja, natürlich."), ("fr", "Oui, bien sûr."),
             ("es", "Sí, por supuesto.")]  # fmt: skip
    made = [Clip(code, text, "Yes, of course.", code, [(0, 0), (4, 6000), (len(text), 16000)], 0, 16000)
            for code, text in texts]  # fmt: skip
    save_set(tmp_path / "set", made, noise)
    return list(load_set(tmp_path / "set"))


def shipped_network(micro: Path) -> network.Whisper:
    model = network.Whisper()
    weights = to_reference(read_model(micro / "model.bin"))
    model.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in weights.items()})
    return model.eval()


def a_batch(
    clips: list[tuple[Clip, np.ndarray]], seconds: float = 4, count: int = 4
) -> batches.Batch:
    composer = Composer(clips, seed=2)
    return batches.as_batch([composer.window(seconds) for _ in range(count)], offset=0)


def test_the_encoder_gives_what_ctranslate2_gives(micro: Path) -> None:
    audio = decode_audio(str(DATA / "short" / "en-2.wav"))
    mel = features.log_mel(torch.from_numpy(np.pad(audio, (0, 480000 - len(audio))))[None])
    with torch.no_grad():
        ours = shipped_network(micro).encoder(mel).numpy()
    model = ctranslate2.models.Whisper(str(micro), compute_type="float32", intra_threads=1)
    theirs = np.array(model.encode(ctranslate2.StorageView.from_array(mel.numpy())))
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_features_are_those_of_faster_whisper() -> None:
    audio = decode_audio(str(DATA / "short" / "en-1.wav"))
    from faster_whisper.feature_extractor import FeatureExtractor

    theirs = FeatureExtractor()(audio, padding=0)
    ours = features.log_mel(torch.from_numpy(audio)[None])[0].numpy()
    np.testing.assert_allclose(ours[:, : theirs.shape[1]], theirs[:, : ours.shape[1]], atol=1e-3)


def test_behind_the_recording_features_are_what_faster_whisper_fills_up_with() -> None:
    audio = decode_audio(str(DATA / "short" / "en-1.wav"))
    samples = torch.from_numpy(np.pad(audio, (0, 480000 - len(audio))))[None].repeat(2, 1)
    whole, part = features.log_mel(samples, torch.tensor([480000, len(audio)]))
    assert torch.equal(whole, features.log_mel(samples)[0])
    frames = -(-len(audio) // features.HOP)
    assert torch.equal(part[:, :frames], whole[:, :frames])
    assert not part[:, frames:].any()
    assert whole[:, frames:].any()


def test_attention_in_blocks_and_its_gradients_are_those_of_pytorch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention, "BLOCK", 200)  # five rows of forty keys
    q, k, v = (
        torch.randn(2, 2, size, 64, dtype=torch.bfloat16, requires_grad=True)
        for size in (13, 40, 40)
    )
    goal = torch.randn(2, 2, 13, 64, dtype=torch.bfloat16)
    ours = attention.attend(q, k, v)
    theirs = torch.nn.functional.scaled_dot_product_attention(q.float(), k.float(), v.float())
    torch.testing.assert_close(ours.float(), theirs, atol=0.02, rtol=0.02)
    for mine, other in zip(
        torch.autograd.grad(ours, (q, k, v), goal),
        torch.autograd.grad(theirs, (q, k, v), goal.float()), strict=True
    ):  # fmt: skip
        torch.testing.assert_close(mine.float(), other.float(), atol=0.05, rtol=0.05)


def test_another_vocal_tract_moves_low_and_high_formants_each_by_its_own() -> None:
    power = torch.zeros(201, 2)
    power[10, 0] = power[100, 1] = 1.0  # 400 Hz and 4 kHz
    loudest = (features._warped() @ power).argmax(1).reshape(len(features.WARPS), -1, 2)
    plain = (features._filters() @ power).argmax(0)
    for throat in loudest:
        assert (throat[:, 0] == throat[0, 0]).all()
        assert throat[0, 1] < plain[1] < throat[-1, 1]
    for mouth in loudest.transpose(0, 1):
        assert (mouth[:, 1] == mouth[0, 1]).all()
        assert mouth[0, 0] < plain[0] < mouth[-1, 0]


def test_the_guide_is_lower_where_attention_falls_on_the_known_places() -> None:
    attention = network.Attention(128)
    x, memory = torch.randn(1, 3, 128), torch.randn(1, 50, 128)
    everywhere, nowhere = torch.tensor([[[0, 49]] * 3]), torch.tensor([[[7, 7]] * 3])
    _, all_seen = attention.guided(x, memory, everywhere, (0, 1))
    mixed, little = attention.guided(x, memory, nowhere, (0, 1))
    all_seen, little = all_seen.detach(), little.detach()
    assert float(all_seen) == pytest.approx(0, abs=2e-3)
    assert float(little) > 2
    torch.testing.assert_close(mixed, attention(x, memory), atol=1e-4, rtol=1e-3)


def test_the_guide_is_the_attention_missing_at_known_places_and_ignores_other_tokens() -> None:
    q, k = torch.randn(2, 1, 4, network.HEAD), torch.randn(2, 1, 50, network.HEAD)
    nowhere = [-1, -1]
    places = torch.tensor(
        [[nowhere, [0, 9], nowhere, [40, 49]], [[10, 12], nowhere, nowhere, nowhere]]
    )
    attention = (q @ k.transpose(-1, -2) / 8).softmax(-1)[:, 0]
    hits = [attention[0, 1, :10].sum(), attention[0, 3, 40:].sum(), attention[1, 0, 10:13].sum()]
    expected = -(torch.stack(hits) + 1e-4).log().mean()
    torch.testing.assert_close(network._guide(q, k, places), expected)


def test_a_batch_without_known_places_has_no_guide() -> None:
    q = torch.randn(2, 1, 4, network.HEAD, requires_grad=True)
    guide = network._guide(q, torch.randn(2, 1, 50, network.HEAD), torch.full((2, 4, 2), -1))
    guide.backward()
    assert guide.detach() == 0
    assert q.grad is not None
    assert not q.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_muon_makes_singular_values_alike(dtype: torch.dtype) -> None:
    values = torch.linalg.svdvals(muon.orthogonal(torch.randn(64, 128), dtype))
    assert 0.5 < float(values.min()) <= float(values.max()) < 1.5


def test_a_processor_without_bfloat16_multiplies_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = {torch.float32: 1.0, torch.bfloat16: 50.0}
    monkeypatch.setattr(precision, "_seconds", lambda dtype: seconds[dtype])
    assert precision.fastest_type(torch.device("cpu")) == torch.float32
    seconds[torch.bfloat16] = 0.5
    assert precision.fastest_type(torch.device("cpu")) == torch.bfloat16


def test_a_network_learns_a_batch(clips: list[tuple[Clip, np.ndarray]]) -> None:
    model, spoken = checkpoint.load_checkpoint(None)
    student = learner.Learner(model, spoken, lr=2e-3, muon_lr=5e-3)
    batch = a_batch(clips)
    before = {name: float(loss.detach()) for name, loss in student.losses(batch).items()}
    for _ in range(12):
        student.learn(batch, rate=1.0)
    after = {name: float(loss.detach()) for name, loss in student.losses(batch).items()}
    assert after["text"] < before["text"] / 2
    assert after["ctc"] < before["ctc"]


def test_a_step_of_the_decoder_leaves_the_encoder_as_it_is(
    clips: list[tuple[Clip, np.ndarray]],
) -> None:
    model, spoken = checkpoint.load_checkpoint(None)
    encoder = {name: weight.clone() for name, weight in model.encoder.state_dict().items()}
    decoder = model.decoder.blocks[0].attn.query.weight.clone()
    batch = a_batch(clips)
    batch.decoder_only = True
    learner.Learner(model, spoken, lr=1e-3, muon_lr=1e-3).learn(batch, rate=1.0)
    for name, weight in model.encoder.state_dict().items():
        torch.testing.assert_close(weight, encoder[name], rtol=0, atol=0)
    assert not torch.equal(model.decoder.blocks[0].attn.query.weight, decoder)


def test_tokens_outside_the_grammar_keep_their_embedding(
    clips: list[tuple[Clip, np.ndarray]],
) -> None:
    model, spoken = checkpoint.load_checkpoint(None)
    student = learner.Learner(model, spoken, lr=1e-3, muon_lr=1e-3)
    before = student.table[student.rest].clone()
    student.learn(a_batch(clips), rate=1.0)
    torch.testing.assert_close(student.table[student.rest], before, rtol=0, atol=0)


def test_a_checkpoint_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    model, spoken = checkpoint.load_checkpoint(None)
    checkpoint.save_checkpoint(tmp_path / "a.pt", model, spoken)
    again, head = checkpoint.load_checkpoint(tmp_path / "a.pt")
    assert head.known.tolist() == spoken.known.tolist()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight, atol=1e-3, rtol=1e-3)


def test_the_shipped_model_survives_the_way_to_openai_whisper_and_back(
    micro: Path, tmp_path: Path
) -> None:
    export.to_openai(micro, tmp_path / "micro.pt")
    saved = torch.load(tmp_path / "micro.pt", weights_only=True)
    assert saved["dims"] == network.Dimensions().as_dict()
    shipped_network(micro).load_state_dict(saved["model_state_dict"])
    export.to_folder(tmp_path / "micro.pt", tmp_path / "back")
    audio = decode_audio(str(DATA / "short" / "en-1.wav"))
    texts = []
    for folder in (micro, tmp_path / "back"):
        model = WhisperModel(str(folder), device="cpu", compute_type="float32", cpu_threads=1)
        texts.append("".join(segment.text for segment in model.transcribe(audio)[0]))
    assert texts[0] == texts[1] != ""


def test_an_average_lies_between_two_checkpoints(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.pt" for name in ("before", "after", "between")]
    for path, value in zip(paths, (1.0, 5.0), strict=False):
        model, spoken = checkpoint.load_checkpoint(None)
        for weight in (*model.parameters(), *spoken.parameters()):
            weight.data.fill_(value)
        checkpoint.save_checkpoint(path, model, spoken)
    average.average(*paths, share=0.75)
    model, spoken = checkpoint.load_checkpoint(paths[2])
    for weight in (*model.parameters(), *spoken.parameters()):
        assert torch.equal(weight, torch.full_like(weight, 4.0))
