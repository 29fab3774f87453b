"""The original script's way: look into a folder; open, transform and judge one picture after the other.

Its transforms and its plain model, eager, a batch of one, without ours in between. It tells the broker what
it found, so that the measurement can see it.
"""

import json
import os
import sys
import time
from pathlib import Path

import redis
import torch
from PIL import Image
from torchvision import transforms
from torchvision.models import resnet34

from shared.checkpoint import Checkpoint
from shared.settings import Settings

IDLE_S = 0.01
"""Instead of the original 5 s where those are left out: without any, it would keep a core from the model."""


def main(folder: Path, sleep_s: float) -> None:
    """Look into the folder again and again, until ended."""
    settings = Settings.from_env(os.environ)
    client = redis.Redis.from_url(settings.redis_url)
    checkpoint = Checkpoint.load(settings.checkpoint)
    model = resnet34(weights=None, num_classes=len(checkpoint.classes)).eval()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.weights.items()})
    transform = transforms.Compose(
        [
            transforms.Resize((checkpoint.preprocessing.size_px,) * 2),
            transforms.ToTensor(),
            transforms.Normalize(checkpoint.preprocessing.mean, checkpoint.preprocessing.std),
        ]
    )
    while True:
        for path in sorted(folder.glob("*.jpeg")):
            image = transform(Image.open(path).convert("RGB"))  # (3, H, W)
            with torch.no_grad():
                shares = torch.softmax(model(image.unsqueeze(0))[0], dim=0)  # (C,)
            best = int(shares.argmax())
            found = {"situation": checkpoint.classes[best], "confidence": float(shares[best])}
            client.set(f"script:{path.name}", json.dumps(found))
            path.unlink()
        time.sleep(sleep_s)


main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else IDLE_S)
