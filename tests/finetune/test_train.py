import warnings
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from finetune.base_model import Compute, load_model, quiet
from finetune.batch import NO_LOSS, Row, fit, join, micro_batches, plan_steps
from finetune.loop import loss_module, mean_loss
from finetune.loss import answer_loss
from finetune.recipe import TrainRecipe
from finetune.train import Outcome, add_adapter, train
from ingest.errors import DataError, DivergedError

RECIPE = TrainRecipe(
    rank=8,
    learning_rate=2e-2,
    batch_tokens=64,
    micro_batch_tokens=40,
    warmup=0,
    quantisation="none",
)


def rows(count: int = 6) -> list[Row]:
    """Rows of several lengths; each has its own answer."""
    return [Row(tuple(range(3, 9 + n)), (20 + n, 30 + n, 40 + n, 2)) for n in range(count)]


def tiny_model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.3,  # the frozen head must be able to tell tokens apart
    )
    return LlamaForCausalLM(config)


def run(tmp_path: Path, *, max_steps: int, recipe: TrainRecipe = RECIPE) -> tuple[Any, Outcome]:
    model = add_adapter(tiny_model(), recipe)
    steps = plan_steps(
        rows(),
        epochs=999,
        max_steps=max_steps,
        batch_tokens=recipe.batch_tokens,
        micro_batch_tokens=recipe.micro_batch_tokens,
        seed=0,
    )
    outcome = train(model, steps, rows(2), recipe, device="cpu", folder=tmp_path)
    return model, outcome


def test_answers_alone_carry_loss() -> None:
    batch = join(rows())
    begin = batch.shared
    assert batch.labels[:begin].tolist() == [NO_LOSS] * begin
    for row, length in zip(rows(), batch.lengths, strict=True):
        labels = batch.labels[begin : begin + length].tolist()
        begin += length
        prompt = len(row.prompt) - batch.shared
        assert labels[:prompt] == [NO_LOSS] * prompt
        assert tuple(labels[prompt:]) == row.target
    assert begin == len(batch.labels)


@pytest.mark.parametrize(
    ("prompts", "shared"),
    [
        ([(5, 6, 7), (5, 6, 8)], 2),
        ([(5, 6, 7), (9, 6, 7)], 0),
        ([(5, 6), (5, 6, 7)], 1),  # the last token of a prompt predicts the answer
        ([(5, 6, 7)], 2),
        ([(5,), (5, 6)], 0),
    ],
)
def test_what_all_prompts_begin_with_is_held_once(
    prompts: list[tuple[int, ...]], shared: int
) -> None:
    batch = join([Row(prompt, (9, 2)) for prompt in prompts])
    beginning, *rests = batch.input_ids.split([shared, *batch.lengths])
    _, *places = batch.position_ids.split([shared, *batch.lengths])
    for rest, place, prompt in zip(rests, places, prompts, strict=True):
        assert (*beginning.tolist(), *rest.tolist()) == (*prompt, 9, 2)
        assert place.tolist() == list(range(shared, len(prompt) + 2))


def test_the_loss_over_selected_places_equals_that_of_all_logits() -> None:
    model = tiny_model()
    total = torch.zeros(())
    for row in rows():
        ids = torch.tensor([row.prompt + row.target])
        labels = torch.tensor([(*[NO_LOSS] * len(row.prompt), *row.target)])
        total += model(input_ids=ids, labels=labels).loss.detach() * len(row.target)
    torch.testing.assert_close(answer_loss(model, join(rows())).detach(), total)


def test_rows_behind_each_other_have_the_loss_and_the_gradient_of_each_alone() -> None:
    together, alone = tiny_model(), tiny_model()
    one = answer_loss(together, join(rows()))
    one.backward()
    each = [answer_loss(alone, join([row])) for row in rows()]
    torch.stack(each).sum().backward()
    torch.testing.assert_close(one, torch.stack(each).sum())
    for ours, theirs in zip(together.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_a_fresh_adapter_changes_nothing() -> None:
    ids = torch.arange(3, 20)[None]
    base = tiny_model().eval()(ids).logits
    tuned = add_adapter(tiny_model(), RECIPE).eval()(ids).logits
    torch.testing.assert_close(tuned, base, rtol=0, atol=0)


def with_update(model: Any) -> Any:
    """Give the adapter of `model` an update that shows."""
    torch.manual_seed(1)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            weights.data.normal_(std=0.1)
    return model


def loss_and_gradients(model: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
    loss = answer_loss(model.get_base_model(), join(rows()))
    loss.backward()
    found = [weights.grad for weights in model.parameters() if weights.requires_grad]
    return loss, found


def test_the_joint_product_has_the_loss_and_the_gradients_of_peft() -> None:
    config = LoraConfig(r=8, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = tiny_model()
    torch.manual_seed(RECIPE.seed)
    with quiet():
        theirs = loss_and_gradients(with_update(get_peft_model(model, config)))
    ours = loss_and_gradients(with_update(add_adapter(tiny_model(), RECIPE)))
    torch.testing.assert_close(ours[0], theirs[0])
    for our, their in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(our, their, rtol=1e-4, atol=1e-4)


def test_a_frozen_model_in_bfloat16_has_nearly_the_same_loss_and_gradients() -> None:
    exact = loss_and_gradients(with_update(add_adapter(tiny_model(), RECIPE)))
    half = loss_and_gradients(with_update(add_adapter(tiny_model().bfloat16(), RECIPE)))
    torch.testing.assert_close(half[0], exact[0], rtol=0.02, atol=0)
    for rounded, gradient in zip(half[1], exact[1], strict=True):
        assert rounded.dtype == torch.float32
        assert (rounded - gradient).norm() < 0.1 * gradient.norm()


def test_dropout_still_drops() -> None:
    dropping = RECIPE.model_copy(update={"dropout": 0.5})
    model = with_update(add_adapter(tiny_model(), dropping)).train()
    ids = torch.arange(3, 20)[None]
    assert not torch.equal(model(ids).logits, model(ids).logits)


def test_one_batch_can_be_overfitted(tmp_path: Path) -> None:
    model, outcome = run(tmp_path, max_steps=60)
    assert outcome.train[0].loss > 3
    assert mean_loss(loss_module(model), [rows()]) < 0.1
    assert [point.step for point in outcome.validation] == [0, 20, 40, 60]
    assert outcome.validation[-1].loss < outcome.validation[0].loss


def test_the_same_seed_trains_the_same_adapter(tmp_path: Path) -> None:
    losses = [run(tmp_path / name, max_steps=3)[1].train for name in "ab"]
    assert losses[0] == losses[1]


def test_how_a_step_is_cut_does_not_change_it(tmp_path: Path) -> None:
    fine = RECIPE.model_copy(update={"micro_batch_tokens": 1})
    coarse = RECIPE.model_copy(update={"micro_batch_tokens": 1000})
    ends = [
        run(tmp_path / name, max_steps=3, recipe=recipe)[1].train[-1].loss
        for name, recipe in (("fine", fine), ("coarse", coarse))
    ]
    assert ends[0] == pytest.approx(ends[1], rel=1e-3)


@pytest.mark.parametrize(("quantisation", "rounded"), [("nf4", True), ("none", False)])
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_nf4_rounds_frozen_weights_to_sixteen_levels_a_block(
    quantisation: Literal["nf4", "none"], rounded: bool, compute: Compute, tmp_path: Path
) -> None:
    tiny_model().save_pretrained(tmp_path)
    model = load_model(tmp_path, quantisation=quantisation, device="cpu", compute=compute)
    blocks = model.model.layers[0].mlp.up_proj.weight.reshape(-1, 64)  # one scale for 64 weights
    assert str(model.dtype) == f"torch.{compute}"
    assert all((len(block.unique()) <= 16) == rounded for block in blocks)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    model = add_adapter(tiny_model(), RECIPE)
    model.get_base_model().model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"(?s)nan in step 1.*learning_rate"):
        train(model, [[rows()]], [], RECIPE, device="cpu", folder=tmp_path)


def test_measuring_leaves_every_layer_in_training_mode() -> None:
    model = add_adapter(tiny_model(), RECIPE.model_copy(update={"dropout": 0.5})).train()
    mean_loss(loss_module(model), [rows()])
    assert all(module.training for module in model.modules())


def test_every_row_is_in_one_micro_batch_of_bounded_size() -> None:
    groups = micro_batches(rows(20), tokens=60)
    assert sorted(row for group in groups for row in group) == sorted(rows(20))
    assert all(sum(map(len, group)) <= 60 for group in groups)


def test_an_epoch_sees_every_row_once() -> None:
    steps = plan_steps(
        rows(20), epochs=1, max_steps=0, batch_tokens=64, micro_batch_tokens=40, seed=5
    )
    seen = [row for step in steps for group in step for row in group]
    assert sorted(seen) == sorted(rows(20))


def test_no_row_within_the_window_says_what_to_change() -> None:
    with pytest.raises(DataError, match=r"(?s)window of 3 tokens.*train.window"):
        fit(rows(), window=3, what="train")


def test_quiet_gives_the_warning_filters_back() -> None:
    before = list(warnings.filters)
    with quiet():
        pass
    assert list(warnings.filters) == before
