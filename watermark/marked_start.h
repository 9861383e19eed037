// A start that already carries the mark: random initial weights keep their magnitudes and get signs that
// follow the marked density. To who does not know the key they are the same random weights; training then has
// only to keep the mark, not to push weights into place.
#pragma once

#include "core/module.h"
#include "watermark/claim.h"
#include "watermark/key.h"

namespace dw {

/// Chooses the sign of every weight of the mark's layers anew. Of weights of magnitude |u| a share
/// (1 + a tanh(|u| / tau)) / 2 gets the owner's sign, g b: not by independent draws but so that every bit's
/// skew function follows its target from the largest magnitude down, to within one weight, with the rounding
/// carried on to the next layer. The loss has nothing left to push, neither up nor down. For freshly
/// initialised layers, whose signs are independent of everything: anything learnt would be lost. Error: a
/// layer that is not there, a weight that is not finite.
void choose_marked_signs(const Module& network, const Mark& mark, const OwnerKey& key);

}  // namespace dw
