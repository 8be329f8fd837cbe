"""The paper's networks and training loop in PyTorch: what ours are compared with.

Networks with PyTorch's own layers and initial weights; each takes images [b, channels, h, w] (the perceptron:
rows [b, inputs]) and returns logits, and ``features`` is what its last layer sees. The loop keeps all data as
one tensor on the network's device and draws minibatches by index: no DataLoader.
"""

import torch
from torch import nn


class WithFeatures(nn.Module):
    def __init__(self, body: nn.Module, output: nn.Linear) -> None:
        super().__init__()
        self.body, self.output = body, output

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.body(x))


def mlp(num_inputs: int, hidden: int, num_classes: int) -> WithFeatures:
    body = nn.Sequential(nn.Linear(num_inputs, hidden), nn.ReLU())
    return WithFeatures(body, nn.Linear(hidden, num_classes, bias=False))


class Block(nn.Module):
    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(num_out)
        self.shortcut = None
        if stride != 1 or num_in != num_out:
            self.shortcut = nn.Conv2d(num_in, num_out, 1, stride, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(num_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(out + (x if self.shortcut is None else self.shortcut_norm(self.shortcut(x))))


def resnet18(num_classes: int, width: int = 64) -> WithFeatures:
    layers = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    num_in = width
    for stage in range(4):
        for i in range(2):
            num_out = width * 2**stage
            layers.append(Block(num_in, num_out, 2 if stage > 0 and i == 0 else 1))
            num_in = num_out
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return WithFeatures(body, nn.Linear(num_in, num_classes))


def vgg11(num_classes: int) -> WithFeatures:
    layers, num_in = [], 3
    for stage in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
        for num_out in stage:
            layers += [nn.Conv2d(num_in, num_out, 3, padding=1), nn.BatchNorm2d(num_out), nn.ReLU()]
            num_in = num_out
        layers.append(nn.MaxPool2d(2))
    return WithFeatures(nn.Sequential(*layers, nn.Flatten()), nn.Linear(512, num_classes))


def train(
    network: WithFeatures,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    minibatch: int,
    learning_rate: float,
    target_accuracy: float = 0.99,
    max_epochs: int = 3000,
    precision: str = "float32",
) -> int:
    """Adam on gradients clipped elementwise to ±0.1, until the accuracy counted during an epoch reaches the
    target. Returns the epochs it took. On CUDA, "bfloat16" is autocast."""
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    autocast = torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bfloat16")
    epoch, num_correct = 0, torch.zeros(())
    while epoch < max_epochs and num_correct.item() < target_accuracy * len(x):
        epoch += 1
        num_correct = torch.zeros((), dtype=torch.int64, device=x.device)
        for rows in torch.randperm(len(x), device=x.device).split(minibatch):
            optimizer.zero_grad()
            with autocast:
                logits = network(x[rows])
            nn.functional.cross_entropy(logits.float(), y[rows]).backward()
            nn.utils.clip_grad_value_(network.parameters(), 0.1)
            optimizer.step()
            num_correct += (logits.argmax(1) == y[rows]).sum()
    return epoch


def outputs(
    network: WithFeatures, x: torch.Tensor, batch_size: int = 1024
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and features of all rows, in evaluation mode."""
    network.eval()
    with torch.no_grad():
        features = torch.cat([network.features(part) for part in x.split(batch_size)])
        return network.output(features), features
