// A start that already carries the mark: random initial weights keep their magnitudes and draw their signs
// from the marked density. To who does not know the key they are the same random weights; training then has
// only to keep the mark, not to push weights into place.
#pragma once

#include <cstdint>

#include "core/module.h"
#include "watermark/claim.h"
#include "watermark/key.h"

namespace dw {

/// Redraws the sign of every weight of the mark's layers: the owner's, g b, with probability
/// (1 + a tanh(|u| / tau)) / 2. `seed` decides the draws. For freshly initialised layers, whose signs are
/// independent of everything: anything learnt would be lost. Error: a layer that is not there.
void draw_marked_signs(const Module& network, const Mark& mark, const OwnerKey& key, uint64_t seed);

}  // namespace dw
