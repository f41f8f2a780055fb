"""What [SCORE] adds to a trained model: the token's embedding, and the read-out of its row."""

import torch
from torch import Tensor, nn

OFFICIAL_PREFIX = "model.score_fcs.0."


class ScoreHead(nn.Module):
    """The score of a frame from the hidden state of [SCORE].

    The read-out is that of the reference's key frame selector: two hidden layers, one output, no sigmoid.
    """

    steps: Tensor  # [] how many the stage has taken

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(hidden))
        self.fcs = nn.Sequential(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.ReLU(), nn.Linear(width, 1)
        )
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def trained(self) -> bool:
        """Whether the model has a [SCORE] at all."""
        return bool(self.steps > 0)

    def begin(self, embedding: Tensor) -> None:
        """Before the first step: [SCORE] starts as the token in whose row the body already gathers its answer."""
        if not self.trained:
            with torch.no_grad():
                self.embedding.copy_(embedding)
        self.steps += 1

    def forward(self, hidden: Tensor) -> Tensor:
        """Scores [...] of hidden states [..., hidden]."""
        score: Tensor = self.fcs(hidden)[..., 0]
        return score

    def official_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint's tensors with [SCORE] behind its last token.

        No one generates it, and nothing was trained to: its row of lm_head is that of <unk>, which loses to all others.
        """
        table, head = state["model.embed_tokens.weight"], state["lm_head.weight"]
        own = {OFFICIAL_PREFIX + name: tensor.detach().float() for name, tensor in self.fcs.state_dict().items()}
        return {
            **state,
            **own,
            "model.embed_tokens.weight": torch.cat((table, self.embedding.detach().float()[None])),
            "lm_head.weight": torch.cat((head, head[:1])),
        }
