"""Restoration models R1 to R3: identities at the start, shared weights, frozen parts."""

import pytest
import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.auxview.view import AuxImages
from nightrain.depthmodel.config import AuxViewConfig, DepthConfig, Kind, RestorationConfig
from nightrain.depthmodel.decoder_config import DptConfig, PixelFormerConfig, StrictConfig
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import ModelCard
from nightrain.depthmodel.network.shared_weights import load_shared
from support.tiny_depth_models import KINDS, tiny_config, tiny_model

SMALL = RestorationConfig(base_channels=8, multipliers=(1, 2), num_blocks=1)
VIEW = AuxViewConfig(
    max_disparity_px=24.0, descriptor_channels=4, attention_channels=8, attention_window=4
)
PIXELFORMER = PixelFormerConfig(embed_dim=16, head_dim=8, window=4, num_bins=16)
DECODERS = (DptConfig(), PixelFormerConfig(), StrictConfig())
SIZE = (56, 112)


def member(base: DepthConfig, **parts: object) -> DepthConfig:
    return DepthConfig.model_validate(base.model_copy(update=parts).model_dump())


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(3))


def views(image: torch.Tensor, present: list[bool]) -> AuxImages:
    K = torch.tensor([[80.0, 0.0, 55.5], [0.0, 80.0, 27.5], [0.0, 0.0, 1.0]])
    T = torch.eye(4)
    T[0, 3] = -0.5
    count = len(image)
    return AuxImages(
        image=image.roll(-3, dims=3),
        present=torch.tensor(present),
        K=K.expand(count, 3, 3),
        K_aux=K.expand(count, 3, 3),
        T_aux_camera=T.expand(count, 4, 4),
    )


def only_added(names: tuple[str, ...]) -> bool:
    """Whether tensors belong to parts that start as the identity."""
    return all(name.startswith(("restoration.", "auxview.")) for name in names)


@pytest.mark.parametrize("kind", KINDS)
def test_untrained_parts_change_no_bit_of_the_plain_network_s_depth(kind: Kind) -> None:
    plain = tiny_model(kind)
    wanted = plain(images()).inverse_depth
    assert float(wanted.detach().std()) > 0
    for parts in ({"restoration": SMALL}, {"restoration": SMALL, "auxview": VIEW}):
        model = DepthModel(member(plain.config, **parts)).eval()
        shared = load_shared(model, plain.state_dict())
        assert not shared.left_out and only_added(shared.new)
        noise = torch.Generator().manual_seed(1)
        for aux in (None, views(images(), [True, True])):
            found = model(images(), aux, generator=noise).inverse_depth
            assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    "parts",
    [
        {
            "restoration": SMALL,
            "decoder": tiny_config().decoder.model_copy(update={"lower": "invertible"}),
        },
        {"restoration": SMALL, "decoder": PIXELFORMER},
        {"decoder": PIXELFORMER.model_copy(update={"lower": "invertible"})},
        {"restoration": SMALL, "decoder": StrictConfig(hidden_channels=8, condition_channels=8)},
        {"decoder": StrictConfig(hidden_channels=8, condition_channels=8)},
    ],
)
def test_untrained_restoration_changes_nothing_before_any_decoder(
    parts: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    torch.manual_seed(0)
    size = (64, 112)  # 16 divides both, as the strict decoder asks for
    image = torch.rand(2, 3, *size)
    base = member(tiny_config(input_size=(112, 64)), **parts)
    without = DepthModel(member(base, restoration=None)).eval()
    model = DepthModel(base).eval()
    shared = load_shared(model, without.state_dict())
    assert not shared.left_out and only_added(shared.new)
    found = model(image, generator=torch.Generator().manual_seed(1))
    assert torch.equal(found.inverse_depth, without(image).inverse_depth)
    assert found.inverse_depth.shape == (2, 1, *size)
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.save_pretrained(folder, ModelCard(title="t", description="d", data_set="none"))
    again = DepthModel.from_pretrained(folder)
    assert again.config == base and again.digest == model.digest
    assert torch.equal(again(image).inverse_depth, model(image).inverse_depth)


def test_weights_of_a_plain_network_load_into_every_decoder_but_for_what_is_replaced() -> None:
    plain = tiny_model()
    lower = plain.config.decoder.model_copy(update={"lower": "invertible"})
    shared = load_shared(DepthModel(member(plain.config, decoder=lower)), plain.state_dict())
    replaced = ("decoder.fusion.0.", "decoder.fusion.1.")
    assert shared.left_out and all(name.startswith(replaced) for name in shared.left_out)
    assert all(name.startswith("decoder.stages.") for name in shared.new)


def test_another_encoder_is_refused() -> None:
    wider = tiny_config("convnext")
    with pytest.raises(InvalidRequest, match=r"tensors of the encoder.*convnext"):
        load_shared(DepthModel(wider), tiny_model("resnet").state_dict())


def trained(model: DepthModel) -> DepthModel:
    """With random numbers where the identity was."""
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        if name.startswith(("restoration.", "auxview.")) and not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_counts_where_it_is_there_and_nowhere_else(kind: Kind) -> None:
    model = trained(DepthModel(member(tiny_model(kind).config, auxview=VIEW))).eval()
    torch.nn.init.normal_(model.decoder.logit.weight, std=1.0)
    image = images()
    alone = model(image).inverse_depth
    assert torch.equal(model(image, views(image, [False, False])).inverse_depth, alone)
    mixed = model(image, views(image, [True, False])).inverse_depth
    assert not torch.equal(mixed[:1], alone[:1])
    torch.testing.assert_close(mixed[1:], alone[1:])


def test_restored_depth_depends_on_noise_only_where_there_is_a_source_of_it() -> None:
    model = trained(DepthModel(member(tiny_model().config, restoration=SMALL))).eval()
    torch.nn.init.normal_(model.decoder.logit.weight, std=1.0)
    first, second = (model(images()).inverse_depth for _ in range(2))
    assert torch.equal(first, second)
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    a, b, c = (model(images(), generator=seed).inverse_depth for seed in seeds)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_frozen_parts_stay_in_eval_mode_and_pass_gradients_on() -> None:
    model = DepthModel(member(tiny_model().config, restoration=SMALL))
    model.freeze(("encoder", "decoder"))
    model.train()
    assert model.training and not model.encoder.training and not model.decoder.training
    before = {k: t.clone() for k, t in model.state_dict().items()}
    model(images()).depth_m.log().sum().backward()
    assert {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None} == {
        "restoration"
    }
    last = [p.grad for n, p in model.named_parameters() if p.grad is not None and p.grad.any()]
    assert last  # the zero-initialised last layer of the UNet, through the frozen head
    frozen = {k: t for k, t in model.state_dict().items() if not k.startswith("restoration.")}
    assert all(torch.equal(before[k], t) for k, t in frozen.items())  # norms' statistics, too


def test_a_part_that_is_not_there_cannot_be_frozen() -> None:
    with pytest.raises(InvalidRequest, match=r"no part 'bakcbone'.*expected one of encoder"):
        tiny_model().freeze(("bakcbone",))


def test_decoders_of_two_kinds_have_digests_of_their_own() -> None:
    base = tiny_config()
    kinds = [member(base, decoder=d).identity for d in DECODERS]
    assert len(set(kinds)) == 3
    assert base.identity == DepthConfig.model_validate(base.model_dump()).identity
    assert "restoration" not in base.identity
    assert "decoder" not in member(base, decoder=DptConfig()).identity


def test_a_saved_configuration_comes_back_as_its_own_kind() -> None:
    for decoder in DECODERS:
        config = member(tiny_config(), decoder=decoder)
        assert type(DepthConfig.model_validate_json(config.model_dump_json()).decoder) is type(
            decoder
        )
