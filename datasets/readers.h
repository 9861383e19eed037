// The readers, one source file each. A reader fills names, pictures and labels; load_dataset() (registry.h)
// chooses it, applies limits and sizes where the reader has not, and finishes the data set.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "datasets/image_set.h"

namespace dw {

struct LoadOptions {
  int64_t image_size = 0;  ///< resize to image_size × image_size; 0: as stored (folder: as its first picture)
  int64_t limit_train = 0;  ///< at most this many training samples, balanced over classes; 0: all
  int64_t limit_test = 0;
  /// A folder that would need more bytes than this once decoded is decoded on demand instead.
  int64_t memory_limit = int64_t{2} << 30;
  ProgressCallback progress = {};
};

/// FOLDER/train/CLASS/* and FOLDER/test/CLASS/*, JPEG, PNG or BMP; classes and files in order of name. Files
/// with other extensions are ignored. Pictures of another size are resized. Grey when all pictures up to the
/// first coloured one are all there is; else RGB.
bool is_class_folder(const std::string& spec);
Dataset read_class_folder(const std::string& spec, const LoadOptions& options);

/// A folder with CIFAR-10's data_batch_*.bin and test_batch.bin, names from batches.meta.txt when present.
bool is_cifar10(const std::string& spec);
Dataset read_cifar10(const std::string& spec, const LoadOptions& options);

/// A folder with CIFAR-100's train.bin and test.bin (fine labels), names from fine_label_names.txt when
/// present.
bool is_cifar100(const std::string& spec);
Dataset read_cifar100(const std::string& spec, const LoadOptions& options);

/// IDX pairs (MNIST): a folder or a file prefix of *-images-idx3-ubyte[.gz] and *-labels-idx1-ubyte[.gz], or
/// "IMAGES,LABELS". Names ending in "train" are the training split, "test" or "t10k" the test split; where
/// only one pair exists, every fifth sample is the test split.
bool is_idx(const std::string& spec);
Dataset read_idx(const std::string& spec, const LoadOptions& options);

/// "synthetic[:train=8000,test=2000,seed=1]": drawn shapes, see synthetic.cpp.
bool is_synthetic(const std::string& spec);
Dataset read_synthetic(const std::string& spec, const LoadOptions& options);

}  // namespace dw
