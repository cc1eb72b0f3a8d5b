"""PSTA as first formulated, under the names of its released checkpoints: loops over pairs, affinities stored.

:class:`LegacyPSTA` is an oracle for :class:`st_reid.models.psta.PSTA`: slow and literal, for 256 x 128 images and for
clips whose length is a multiple of 8. :func:`convert_psta` renames a released state dict for the port.

Wang et al., Pyramid Spatial-Temporal Aggregation for Video-based Person Re-Identification, ICCV 2021, section 3.
"""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn

from st_reid.errors import UserError
from st_reid.models.released import port_key as port_key
from st_reid.models.released import rename_psta


def _conv_bn_relu(channels: int, out: int, kernel: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU()]


def _conv_bn_sigmoid(channels: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, 1, 1, bias=False), nn.BatchNorm2d(1), nn.Sigmoid()]


class _Trunk(nn.Module):
    """torchvision's ResNet-50 up to layer4, whose stride is 1."""

    def __init__(self) -> None:
        super().__init__()
        resnet = torchvision.models.resnet50(weights=None)
        resnet.layer4[0].conv2.stride = (1, 1)
        resnet.layer4[0].downsample[0].stride = (1, 1)
        self.conv1, self.bn1, self.relu, self.maxpool = resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            resnet.layer1,
            resnet.layer2,
            resnet.layer3,
            resnet.layer4,
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class _TRA(nn.Module):
    def __init__(self, dim: int, positions: int) -> None:
        super().__init__()
        self.gamma_temporal = nn.Sequential(*_conv_bn_relu(dim, 128))
        self.beta_temporal = nn.Sequential(*_conv_bn_relu(dim, 128))
        self.gg_temporal = nn.Sequential(*_conv_bn_relu(2 * positions, 128))
        self.tte_para = nn.Sequential(*_conv_bn_relu(256, 128))
        self.te_para = nn.Sequential(*_conv_bn_sigmoid(256))
        self.theta_channel = nn.Sequential(nn.Conv1d(dim, 128, 1, bias=False), nn.ReLU())
        self.channel_para = nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, dim), nn.Sigmoid())

    def forward(self, x: Tensor, v: Tensor, e: Tensor) -> Tensor:
        B, T, D, h, w = x.shape
        gamma = self.gamma_temporal(x.reshape(B * T, D, h, w)).view(B, T, 128, h * w)
        beta = self.beta_temporal(x.reshape(B * T, D, h, w)).view(B, T, 128, h * w)
        theta = self.theta_channel(v.permute(0, 2, 1)).permute(0, 2, 1)  # (B, T, 128)
        pairs = []
        for a in range(0, T, 2):
            b = a + 1
            c_a = self.channel_para(torch.cat([theta[:, a], theta[:, b]], dim=1)).view(B, D, 1, 1)
            c_b = self.channel_para(torch.cat([theta[:, b], theta[:, a]], dim=1)).view(B, D, 1, 1)
            g_ab = gamma[:, a].transpose(1, 2) @ beta[:, b]  # (B, N, N): p in a, q in b
            g_ba = gamma[:, b].transpose(1, 2) @ beta[:, a]  # (B, N, N): q in b, p in a
            # Channels first: entry [:, :, p] is the relation of position p.
            r_a = torch.cat([g_ab.transpose(1, 2), g_ba], dim=1).view(B, 2 * h * w, h, w)
            r_b = torch.cat([g_ba.transpose(1, 2), g_ab], dim=1).view(B, 2 * h * w, h, w)
            s_a = self._gate(e[:, a], e[:, b], r_a)
            s_b = self._gate(e[:, b], e[:, a], r_b)
            pairs.append(torch.relu(c_a * s_a * x[:, a] + c_b * s_b * x[:, b]) ** 2)
        return torch.stack(pairs, dim=1)

    def _gate(self, own: Tensor, other: Tensor, relation: Tensor) -> Tensor:
        joint = self.tte_para(torch.cat([own, other], dim=1))
        return self.te_para(torch.cat([joint, self.gg_temporal(relation)], dim=1))  # (B, 1, h, w)


class _SRA(nn.Module):
    def __init__(self, dim: int, positions: int) -> None:
        super().__init__()
        self.alphi_appearance = nn.Sequential(*_conv_bn_relu(dim, 128))
        self.delta_appearance = nn.Sequential(*_conv_bn_relu(dim, 128))
        self.gg_spatial = nn.Sequential(*_conv_bn_relu(2 * positions, 128))
        self.spa_para = nn.Sequential(*_conv_bn_relu(256, 128), *_conv_bn_sigmoid(128))
        self.app_channel = nn.Sequential(nn.Linear(dim, 128), nn.ReLU(), nn.Linear(128, dim), nn.Sigmoid())

    def forward(self, x: Tensor, v: Tensor, e: Tensor, y: Tensor) -> Tensor:
        B, T, D, h, w = x.shape
        frames = x.reshape(B * T, D, h, w)
        alpha = self.alphi_appearance(frames).view(B * T, 128, h * w)
        delta = self.delta_appearance(frames).view(B * T, 128, h * w)
        g = alpha.transpose(1, 2) @ delta  # (B*T, N, N)
        relation = self.gg_spatial(torch.cat([g.transpose(1, 2), g], dim=1).view(B * T, 2 * h * w, h, w))
        s = self.spa_para(torch.cat([e.reshape(B * T, 128, h, w), relation], dim=1)).view(B, T, 1, h, w)
        c = self.app_channel(v.reshape(B * T, D)).view(B, T, D, 1, 1)
        gated = c * s * x
        sums = [y[:, a // 2] + torch.relu(gated[:, a] + gated[:, a + 1]) for a in range(0, T, 2)]
        return torch.stack(sums, dim=1)


class _STAM(nn.Module):
    def __init__(self, dim: int, positions: int) -> None:
        super().__init__()
        self.Embeding = nn.Sequential(*_conv_bn_relu(dim, 256), *_conv_bn_relu(256, 128))
        self.TRAG = _TRA(dim, positions)
        self.SRAG = _SRA(dim, positions)
        self.conv_block = nn.Sequential(
            *_conv_bn_relu(dim, 256), *_conv_bn_relu(256, 256, kernel=3), *_conv_bn_relu(256, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        B, T, D, h, w = x.shape
        v = x.mean(dim=(3, 4))
        e = self.Embeding(x.reshape(B * T, D, h, w)).view(B, T, 128, h, w)
        z = self.SRAG(x, v, e, self.TRAG(x, v, e))
        return self.conv_block(z.reshape(B * T // 2, D, h, w)).view(B, T // 2, D, h, w)


class LegacyPSTA(nn.Module):
    """PSTA in its literal formulation, with the state dict of the released checkpoints.

    Args:
        num_classes: identities of the training set.
        base: another backbone than ResNet-50, for instance ``nn.Identity()`` to test the head on feature maps.
        channels: of the backbone's feature maps.
        dim: channels of the pyramid.
        positions: h * w of the feature maps, which is built into the weights.

    Shapes:
        - Input: (B, T, 3, 256, 128), T a multiple of 8.
        - Output: (B, dim) in evaluation mode; in training mode three logits (B, num_classes), and three features
          (B, dim) after the necks.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        base: nn.Module | None = None,
        channels: int = 2048,
        dim: int = 1024,
        positions: int = 128,
    ) -> None:
        super().__init__()
        self.base = base or _Trunk()
        self.down_channel = nn.Sequential(*_conv_bn_relu(channels, dim))
        self.layer1, self.layer2, self.layer3 = (_STAM(dim, positions) for _ in range(3))
        self.bottleneck = nn.ModuleList(nn.BatchNorm1d(dim) for _ in range(3))
        self.classifier = nn.ModuleList(nn.Linear(dim, num_classes) for _ in range(3))
        for neck in self.bottleneck:
            neck.bias.requires_grad_(False)

    def pyramid(self, clips: Tensor) -> list[Tensor]:
        """Return F1, F2, F3, of (B, T/2, ...), (B, T/4, ...) and (B, T/8, dim, h, w)."""
        B, T = clips.shape[:2]
        x = self.down_channel(self.base(clips.flatten(0, 1)))
        f1 = self.layer1(x.view(B, T, *x.shape[1:]))
        f2 = self.layer2(f1)
        return [f1, f2, self.layer3(f2)]

    def forward(self, clips: Tensor) -> Tensor | tuple[list[Tensor], list[Tensor]]:
        f1, f2, f3 = (level.mean(dim=(1, 3, 4)) for level in self.pyramid(clips))
        g = [f1, (f1 + f2) / 2, (f1 + f2 + f3) / 3]
        if not self.training:
            return self.bottleneck[2](g[2])
        features = [neck(x) for neck, x in zip(self.bottleneck, g, strict=True)]
        return [classify(x) for classify, x in zip(self.classifier, features, strict=True)], features


def convert_psta(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a released PSTA state dict to one for ``create_model("psta", num_classes)``.

    Args:
        state_dict: with or without the prefix ``module.``; it is not changed, and its tensors are shared.

    Raises:
        UserError: it is no state dict of PSTA on ResNet-50; the message counts what differs.
    """
    state_dict = {key.removeprefix("module."): value for key, value in state_dict.items()}
    expected = _released_shapes(state_dict)
    missing = [key for key in expected if key not in state_dict]
    unknown = [key for key in state_dict if key not in expected]
    reshaped = [k for k, shape in expected.items() if k in state_dict and tuple(state_dict[k].shape) != shape]
    complaints = [
        f"{len(keys)} entries {what} (for example {keys[0]!r})"
        for keys, what in ((missing, "missing"), (unknown, "unknown"), (reshaped, "of another shape"))
        if keys
    ]
    if complaints:
        raise UserError(f"not a released PSTA state dict: {', '.join(complaints)}; expected PSTA on ResNet-50")
    return dict(rename_psta(state_dict))


def _released_shapes(state_dict: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    classifier = state_dict.get("classifier.0.weight")
    num_classes = len(classifier) if isinstance(classifier, Tensor) and classifier.ndim == 2 else 1
    with torch.device("meta"):
        model = LegacyPSTA(num_classes)
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}
