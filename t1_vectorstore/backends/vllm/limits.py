"""What vLLM, and servers, cannot do. It imports no heavy library, so that options are checked before vLLM is loaded."""

from __future__ import annotations

from t1_vectorstore.checkpoints.spec import CheckpointSpec, Refining


def check_model(spec: CheckpointSpec) -> None:
    """Check that vLLM or a server can give the vectors of a model.

    Raises:
        ValueError: The model refines, or its vectors are of an inner layer.
    """
    refuse_refining(spec.refining)
    if spec.pooling_layer != -1:
        raise ValueError(
            f"pooling_layer={spec.pooling_layer}, but vLLM and llama.cpp's server return only the "
            "last layer's states; use backend='transformers'"
        )


def refuse_refining(refining: Refining) -> None:
    """Refuse refining: engines and servers accept only tokens, and no hidden states.

    Raises:
        ValueError: There are refine steps.
    """
    if refining.steps:
        raise ValueError(
            f"refine_steps={refining.steps} feeds hidden states back to the model, and vLLM and llama.cpp's server "
            "accept only tokens: turn refining off, or use backend='transformers'"
        )
