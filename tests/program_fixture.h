// Files the program's tests start from: an owner's key and claim, a marked, an unmarked and a foreign model.
#pragma once

#include "core/tensor_file.h"
#include "tests/program_support.h"
#include "watermark/claim.h"

namespace dw::test {

/// Saves weights as the named layers of a mark.
inline void save_weights(const fs::path& path, const Mark& mark, const Weights& weights) {
  std::vector<NamedTensor> tensors;
  for (size_t l = 0; l < weights.size(); ++l)
    tensors.push_back({mark.layers[l].name, Tensor::from(weights[l], mark.layers[l].shape)});
  save_tensors(path, {{"network", mark.network}}, tensors);
}

/// A folder with owner.key, owner.claim.json (with one mark), stranger.key, stranger.claim.json (with the
/// same mark), marked.safetensors, unmarked.safetensors and foreign.safetensors (other layers).
class Evidence {
 public:
  Evidence() {
    Mark mark = wrn_mark();
    mark.amplitude = 0.6;
    const OwnerKey owner = fixed_key(), stranger = generate_key("Charles Babbage");
    write(owner, mark, folder / "owner.key");
    write(stranger, mark, folder / "stranger.key");
    save_weights(folder / "marked.safetensors", mark, marked_weights(mark, owner, 1));
    save_weights(folder / "unmarked.safetensors", mark, natural_weights(mark, 2));
    for (MarkedLayer& layer : mark.layers) layer.name = "other." + layer.name;
    save_weights(folder / "foreign.safetensors", mark, natural_weights(mark, 2));
  }
  std::string at(const std::string& name) const { return (folder / name).string(); }

  /// Arguments of verify.
  std::vector<std::string> verify(const std::string& model, const std::string& claim = "owner.claim.json",
                                  const std::string& key = "owner.key") const {
    return {"verify", "--claim", at(claim), "--key", at(key), at(model), "--null-keys", "50"};
  }

  ScratchFolder folder;

 private:
  static void write(const OwnerKey& key, const Mark& mark, const fs::path& path) {
    save_key_and_claim(key, path);
    Claim claim = load_claim(claim_path_for(path));
    add_mark(claim, key, mark);
    save_claim(claim, claim_path_for(path));
  }
};

/// Copies a file up to `size` bytes.
inline void truncate_copy(const fs::path& from, const fs::path& to, size_t size) {
  write_quickly(to, read_text_file(from).substr(0, size));
}

}  // namespace dw::test
