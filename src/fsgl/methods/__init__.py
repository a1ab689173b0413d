"""Training methods, one small file each. To add one: its file, and a line here."""

from __future__ import annotations

from fsgl.methods.balanced_softmax import BalancedSoftmax as BalancedSoftmax
from fsgl.methods.base import Method as Method
from fsgl.methods.bcl import Bcl as Bcl
from fsgl.methods.class_balanced import ClassBalanced as ClassBalanced
from fsgl.methods.cross_entropy import CrossEntropy as CrossEntropy
from fsgl.methods.crt import Crt as Crt
from fsgl.methods.cutmix import CutMix as CutMix
from fsgl.methods.disalign import DisAlign as DisAlign
from fsgl.methods.focal import Focal as Focal
from fsgl.methods.glmc import Glmc as Glmc
from fsgl.methods.ldam_drw import LdamDrw as LdamDrw
from fsgl.methods.logit_adjustment import LogitAdjustment as LogitAdjustment
from fsgl.methods.lws import Lws as Lws
from fsgl.methods.max_norm import MaxNorm as MaxNorm
from fsgl.methods.mixup import MixUp as MixUp
from fsgl.methods.paco import Paco as Paco
from fsgl.methods.remix import Remix as Remix
from fsgl.methods.sade import Sade as Sade
from fsgl.methods.vector_scaling import VectorScaling as VectorScaling

# The lines above are the table: every method by its name.
METHODS: dict[str, type[Method]] = {
    each.name: each for each in tuple(globals().values()) if hasattr(each, "__dataclass_fields__")
}
