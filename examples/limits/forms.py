# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The forms of *.tdsl as a user of PyTorch or JAX writes them: FORMS[family][form](x, *inputs), where
x has what the two call differently (peers.py). Reductions are over the last axis and keep it."""

LOG2E = 1.4426950408889634
LN2 = 0.6931471805599453


def scores(q, k):
    return q @ k.mT * q.shape[-1] ** -0.5


def exponentials(x, s):
    return x.exp(s - x.max(s))


def ratio(x, e, v):
    return e / x.sum(e) @ v


def guarded(x, q, k, v):
    s = scores(q, k)
    m = x.max(s)
    e = x.exp(s - x.where(m == -x.inf, 0.0, m))
    total = x.sum(e)
    return e @ v / x.where(total == 0, 1.0, total)


def merged_heads(x, q, k, v):
    q, k, v = (a.reshape(-1, *a.shape[2:]) for a in (q, k, v))
    return x.softmax(scores(q, k)) @ v


def as_sums(x, q, k, v):
    s = x.einsum("bhsd,bhtd->bhst", q, k) * q.shape[-1] ** -0.5
    return x.einsum("bhst,bhte->bhse", x.softmax(s), v)


def rounded_sum(x, q, k, v):
    e = x.like(exponentials(x, x.f32(scores(q, k))), v)
    return x.like(x.f32(e @ v) / x.sum(x.f32(e)), v)


def shifted(x, q, k, v, shift):
    s = scores(q, k)
    e = x.exp(s + shift(s))
    return e @ v / x.sum(e)


FULL = {
    "scaled": lambda x, q, k, v: x.softmax(q @ k.mT * q.shape[-1] ** -0.5) @ v,
    "divided": lambda x, q, k, v: x.softmax(q @ k.mT / q.shape[-1] ** 0.5) @ v,
    "cast_after": lambda x, q, k, v: x.like(x.softmax(x.f32(scores(q, k))), v) @ v,
    "cast_before": lambda x, q, k, v:
        x.like(x.softmax(x.f32(q @ k.mT) * q.shape[-1] ** -0.5), v) @ v,
    "scale_on_q": lambda x, q, k, v: x.softmax((q * q.shape[-1] ** -0.5) @ k.mT) @ v,
    "scale_on_both": lambda x, q, k, v:
        x.softmax((q * q.shape[-1] ** -0.25) @ (k * q.shape[-1] ** -0.25).mT) @ v,
    "as_sums": as_sums,
    "written_out": lambda x, q, k, v: ratio(x, exponentials(x, scores(q, k)), v),
    "divided_last": lambda x, q, k, v: shifted(x, q, k, v, lambda s: -x.max(s)),
    "merged_heads": merged_heads,
    "base_two": lambda x, q, k, v:
        ratio(x, x.exp2((scores(q, k) - x.max(scores(q, k))) * LOG2E), v),
    "negated": lambda x, q, k, v: ratio(x, x.exp(-(x.max(scores(q, k)) - scores(q, k))), v),
    "reciprocal": lambda x, q, k, v:
        exponentials(x, scores(q, k)) * (1 / x.sum(exponentials(x, scores(q, k)))) @ v,
    "log_space": lambda x, q, k, v: x.exp(scores(q, k) - x.logsumexp(scores(q, k))) @ v,
    "exp_of_log": lambda x, q, k, v: x.exp(x.log_softmax(scores(q, k))) @ v,
    "shifted_by_mean": lambda x, q, k, v: shifted(x, q, k, v, lambda s: -x.mean(s)),
    "shifted_by_minimum": lambda x, q, k, v: shifted(x, q, k, v, lambda s: x.min(-s)),
    "other_order": lambda x, q, k, v:
        (v.mT @ x.softmax(q.shape[-1] ** -0.5 * (k @ q.mT).mT).mT).mT,
    "rounded_sum": rounded_sum,
    "guarded": guarded,
    "statistics": lambda x, q, k, v:
        (x.softmax(scores(q, k)) @ v, x.logsumexp(x.f32(scores(q, k)))),
}


def seen(x, s):
    return x.arange(s.shape[-1])[None, :] <= x.arange(s.shape[-2])[:, None]


def masked(x, s):
    return x.where(seen(x, s), s, -x.inf)


def hidden_weights(x, q, k, v):
    s = scores(q, k)
    e = x.where(seen(x, s), exponentials(x, s), 0.0)
    return e @ v / x.sum(e)


CAUSAL = {
    "compared": lambda x, q, k, v: x.softmax(masked(x, scores(q, k))) @ v,
    "compared_finite": lambda x, q, k, v:
        x.softmax(x.where(seen(x, scores(q, k)), scores(q, k), -1e30)) @ v,
    "mask_given": lambda x, q, k, v, hidden: x.softmax(x.where(hidden, -x.inf, scores(q, k))) @ v,
    "mask_added": lambda x, q, k, v, mask: x.softmax(scores(q, k) + x.like(mask, q)) @ v,
    "compared_cast": lambda x, q, k, v:
        x.like(x.softmax(masked(x, x.f32(q @ k.mT) * q.shape[-1] ** -0.5)), v) @ v,
    "hidden_weights": hidden_weights,
}


def distance(x, s):
    return x.f32(x.arange(s.shape[-2])[:, None] - x.arange(s.shape[-1])[None, :])


def of_biased(x, q, v, s):
    return x.like(x.softmax(masked(x, s)), v) @ v


ALIBI = {
    "by_distance": lambda x, q, k, v, slope:
        of_biased(x, q, v, scores(q, k) - slope[:, None, None] * distance(x, scores(q, k))),
    "by_key": lambda x, q, k, v, slope:
        of_biased(x, q, v, scores(q, k) + slope[:, None, None] * x.f32(x.arange(k.shape[-2]))),
    "by_added_bias": lambda x, q, k, v, slope:
        x.like(x.softmax(scores(q, k) + masked(x, -slope[:, None, None] * distance(x, scores(q, k)))),
               v) @ v,
}

SOFTCAP = {
    "capped": lambda x, q, k, v: x.softmax(masked(x, 20 * x.tanh(scores(q, k) / 20))) @ v,
    "capped_after": lambda x, q, k, v:
        x.softmax(20 * masked(x, x.tanh(q @ k.mT * (q.shape[-1] ** -0.5 / 20)))) @ v,
    "capped_by_sigmoid": lambda x, q, k, v:
        x.softmax(masked(x, 20 * (2 * x.sigmoid(scores(q, k) / 10) - 1))) @ v,
}

SOFTMAX = {
    "library": lambda x, a: x.softmax(a),
    "written_out": lambda x, a: exponentials(x, a) / x.sum(exponentials(x, a)),
    "base_two": lambda x, a:
        x.exp2((a - x.max(a)) * LOG2E) / x.sum(x.exp2((a - x.max(a)) * LOG2E)),
    "log_space": lambda x, a: x.exp(a - x.logsumexp(a)),
    "exp_of_log": lambda x, a: x.exp(x.log_softmax(a)),
    "shifted_by_mean": lambda x, a: x.exp(a - x.mean(a)) / x.sum(x.exp(a - x.mean(a))),
}

WEIGHTED = {
    "weights": lambda x, a, y: x.sum(x.softmax(a) * y),
    "weights_divided": lambda x, a, y:
        x.sum(exponentials(x, a) / x.sum(exponentials(x, a)) * y),
    "sums_divided": lambda x, a, y:
        x.sum(exponentials(x, a) * y) / x.sum(exponentials(x, a)),
    "weights_of_logs": lambda x, a, y: x.sum(x.exp(x.log_softmax(a)) * y),
    "as_product": lambda x, a, y: y[:, None, :] @ x.softmax(a)[:, :, None],
}


def chosen(x, z, t):
    return x.sum(x.where(x.arange(z.shape[-1])[None, :] == t[:, None], z, 0.0))


def sum_of_exp(x, z):
    return x.sum(exponentials(x, z))


CROSS_ENTROPY = {
    "loss": lambda x, z, t: x.cross_entropy(z, t),
    "loss_selected": lambda x, z, t: x.logsumexp(z) - chosen(x, z, t),
    "loss_written_out": lambda x, z, t: x.log(sum_of_exp(x, z)) + x.max(z) - x.take(z, t),
    "loss_relative": lambda x, z, t: x.logsumexp(z - x.take(z, t)),
    "loss_base_two": lambda x, z, t:
        x.log2(x.sum(x.exp2((z - x.max(z)) * LOG2E))) * LN2 + x.max(z) - x.take(z, t),
    "loss_of_probability": lambda x, z, t:
        -x.log(x.exp(x.take(z, t) - x.max(z)) / sum_of_exp(x, z)),
}


def logits_as_sums(x, a, w, t):
    z = x.f32(x.einsum("nd,vd->nv", a, w))
    return x.max(z) + x.log(sum_of_exp(x, z)) - chosen(x, z, t)


def logits_base_two(x, a, w, t):
    z = x.f32((a * LOG2E) @ w.mT)
    total = x.max(z) + x.log2(x.sum(x.exp2(z - x.max(z))))
    return (total - chosen(x, z, t)) * LN2


LAST_LAYER = {
    "logits": lambda x, a, w, t: x.cross_entropy(x.f32(a @ w.mT), t),
    "logits_selected": lambda x, a, w, t:
        x.logsumexp(x.f32(a @ w.mT)) - chosen(x, x.f32(a @ w.mT), t),
    "logits_apart": lambda x, a, w, t:
        x.logsumexp(x.f32(a @ w.mT)) - x.sum(x.f32(a) * x.f32(w[t])),
    "logits_as_sums": logits_as_sums,
    "logits_base_two": logits_base_two,
}


def variance(x, a):
    return x.mean((a - x.mean(a)) ** 2)


def scale_and_shift(x, a, g, b):
    scale = x.rsqrt(variance(x, a) + 1e-5) * g
    return a * scale + (b - x.mean(a) * scale)


def rms(x, a):
    return a * x.rsqrt(x.mean(a * a) + 1e-5)


LAYERNORM = {
    "library": lambda x, a, g, b: x.layer_norm(a, g, b),
    "written_out": lambda x, a, g, b:
        (a - x.mean(a)) / x.sqrt(variance(x, a) + 1e-5) * g + b,
    "two_sums": lambda x, a, g, b:
        (a - x.mean(a)) * x.rsqrt(x.mean(a * a) - x.mean(a) ** 2 + 1e-5) * g + b,
    "as_power": lambda x, a, g, b:
        (a - x.mean(a)) * (variance(x, a) + 1e-5) ** -0.5 * g + b,
    "scale_and_shift": scale_and_shift,
    "by_rmsnorm": lambda x, a, g, b: rms(x, a - x.mean(a)) * g + b,
}

NORM_PRODUCT = {
    "norm_first": lambda x, a, g, w: rms(x, a) * g @ w,
    "norm_divides": lambda x, a, g, w: a / x.sqrt(x.mean(a ** 2) + 1e-5) * g @ w,
    "norm_last": lambda x, a, g, w: (a * g) @ w * x.rsqrt(x.mean(a * a) + 1e-5),
    "gain_on_weights": lambda x, a, g, w: rms(x, a) @ (g[:, None] * w),
    "norm_as_sums": lambda x, a, g, w:
        x.einsum("nd,de->ne", g * (x.sum(a * a) / a.shape[-1] + 1e-5) ** -0.5 * a, w),
}


def gelu(x, y):
    return 0.5 * y * (1 + x.erf(y * 0.5 ** 0.5))


LAYER = {
    "gelu_of_product": lambda x, a, w, b: x.gelu(a @ w + b),
    "gelu_written_out": lambda x, a, w, b: (lambda y: y * (1 + x.erf(y / 2 ** 0.5)) / 2)(
        b + x.einsum("nd,dh->nh", a, w)),
    "gelu_by_erfc": lambda x, a, w, b: (lambda y: y * 0.5 * x.erfc(-y * 0.5 ** 0.5))(
        (w.mT @ a.mT).mT + b),
}

MLP = {
    "two_layers": lambda x, a, w, b, u, c: x.gelu(a @ w + b) @ u + c,
    "two_layers_as_sums": lambda x, a, w, b, u, c:
        x.einsum("nh,he->ne", gelu(x, x.einsum("nd,dh->nh", a, w) + b), u) + c,
    "other_order": lambda x, a, w, b, u, c:
        c + (u.mT @ x.gelu(b + (w.mT @ a.mT).mT).mT).mT,
    "half_last": lambda x, a, w, b, u, c:
        (lambda y: 0.5 * ((y * (1 + x.erf(y * 0.5 ** 0.5))) @ u) + c)(a @ w + b),
}

GATED = {
    "gate": lambda x, a, w, g, u: (x.silu(a @ g) * (a @ w)) @ u,
    "gate_written_out": lambda x, a, w, g, u:
        (lambda z: (z / (1 + x.exp(-z)) * (a @ w)) @ u)(a @ g),
    "gate_last": lambda x, a, w, g, u:
        (lambda z: x.einsum("nh,he->ne", (a @ w) * x.sigmoid(z) * z, u))(a @ g),
}

FORMS = {
    "full": FULL, "causal": CAUSAL, "alibi": ALIBI, "softcap": SOFTCAP, "softmax": SOFTMAX,
    "weighted": WEIGHTED, "cross_entropy": CROSS_ENTROPY, "last_layer": LAST_LAYER,
    "layernorm": LAYERNORM, "norm_product": NORM_PRODUCT, "layer": LAYER, "mlp": MLP,
    "gated": GATED,
}
