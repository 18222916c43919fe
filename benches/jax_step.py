"""A private step of the Opacus paper's networks in JAX: gradients of single records by `vmap`, clipped to norm 1, summed, with
noise, compiled as one function. Layouts are JAX's own, channels last."""

LAYERS = {"mnist_cnn": [(8, 1, 16), (4, 16, 32)], "cifar_cnn": [(3, a, b) for a, b in
          [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 10)]]}


def network(name, random):
    """Parameters, and logits of a batch as a function of them."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    new = lambda *dims: jnp.asarray(0.05 * random.standard_normal(dims), jnp.float32)

    def convolve(x, weight, bias, stride, padding):
        return lax.conv_general_dilated(x, weight, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias

    def pool(x, of, first, stride):
        return lax.reduce_window(x, first, of, (1, 2, 2, 1), (1, stride, stride, 1), "VALID")

    filters = [part for k, a, b in LAYERS.get(name, []) for part in (new(k, k, a, b), new(b))]
    if name == "mnist_cnn":
        def logits(p, x):
            for layer, padding in enumerate(([(3, 3), (3, 3)], "VALID")):
                x = pool(jax.nn.relu(convolve(x, p[2 * layer], p[2 * layer + 1], 2, padding)), lax.max, -jnp.inf, 1)
            x = jax.nn.relu(x.reshape(x.shape[0], -1) @ p[4] + p[5])
            return x @ p[6] + p[7]
        return [*filters, new(512, 32), new(32), new(32, 10), new(10)], logits
    if name == "cifar_cnn":
        def logits(p, x):
            for layer in range(8):
                x = convolve(x, p[2 * layer], p[2 * layer + 1], 1, "SAME")
                x = x if layer == 7 else jax.nn.relu(x)
                x = pool(x, lax.add, 0.0, 2) / 4 if layer in (1, 3, 5) else x
            return x.mean((1, 2))
        return filters, logits
    if name == "imdb_embedding":
        return [new(10004, 16), new(16, 2), new(2)], lambda p, ids: p[0][ids].mean(1) @ p[1] + p[2]

    def logits(p, ids):
        gates = p[0][ids] @ p[1] + p[3]

        def cell(state, gate):
            hidden, memory = state
            i, f, g, o = jnp.split(gate + hidden @ p[2], 4, -1)
            memory = jax.nn.sigmoid(f) * memory + jax.nn.sigmoid(i) * jnp.tanh(g)
            hidden = jax.nn.sigmoid(o) * jnp.tanh(memory)
            return (hidden, memory), hidden

        start = jnp.zeros((ids.shape[0], 100))
        _, all_hidden = lax.scan(cell, (start, start), gates.transpose(1, 0, 2))
        return all_hidden.mean(0) @ p[4] + p[5]
    return [new(10004, 100), new(100, 400), new(100, 400), new(400), new(100, 2), new(2)], logits


def private_step(name, x, labels):
    """The step as a function without arguments, on NumPy arrays of a batch, images with channels first."""
    import jax
    import jax.numpy as jnp
    import numpy

    parameters, logits = network(name, numpy.random.default_rng(0))
    x, labels = jnp.asarray(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x), jnp.asarray(labels)

    def clipped(p, x, label):
        loss = lambda p: -jax.nn.log_softmax(logits(p, x[None]))[0, label]
        gradient = jax.grad(loss)(p)
        norm = jnp.sqrt(sum(jnp.sum(part * part) for part in gradient))
        return [part / jnp.maximum(norm, 1.0) for part in gradient]

    @jax.jit
    def step(p, key, x, labels):
        sums = [part.sum(0) for part in jax.vmap(clipped, (None, 0, 0))(p, x, labels)]
        key, *keys = jax.random.split(key, len(sums) + 1)
        noisy = [part + jax.random.normal(k, part.shape) for part, k in zip(sums, keys)]
        return [a - 0.05 / x.shape[0] * part for a, part in zip(p, noisy)], key

    state = [parameters, jax.random.PRNGKey(0)]

    def once():
        state[:] = step(*state, x, labels)
        jax.block_until_ready(state[0])
    return once
