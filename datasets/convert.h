// Writing a data set in another form. A target folder appears complete or not at all: everything is written
// to a temporary folder beside it, synced, and renamed. Errors: the target exists and is not an empty folder,
// a format that cannot hold the data set (what it can hold, what was found), disk full.
#pragma once

#include <filesystem>

#include "datasets/image_set.h"

namespace dw {

/// CIFAR's binary form. 32 × 32 RGB only.
enum class CifarFlavour {
  cifar10,  ///< at most 10 classes; data_batch_N.bin of 10,000 records each, test_batch.bin, batches.meta.txt
  cifar100  ///< at most 100 classes; train.bin, test.bin, fine_label_names.txt; coarse label = label / 5
};
void write_cifar(const Dataset& dataset, const std::filesystem::path& folder, CifarFlavour flavour);

/// train-images-idx3-ubyte and the three files that go with it, names ending in .gz when compressed. Grey
/// pictures and at most 256 classes; class names are not kept.
void write_idx(const Dataset& dataset, const std::filesystem::path& folder, bool compress);

/// train/CLASS/NNNNN.png and test/CLASS/NNNNN.png, numbered within the class. Reading it back gives the same
/// pictures sorted by class.
void write_folder(const Dataset& dataset, const std::filesystem::path& folder,
                  const ProgressCallback& progress = {});

}  // namespace dw
