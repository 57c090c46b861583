// The kernel that needs no special instruction: slow, and what the others are compared with.
#include "blocks.h"

namespace dawn {
namespace {

struct Plain {
  static constexpr int kTileRows = 1, kTilePanels = 1;

  template <int R, int P>
  static void tile(const Tile& tile, std::int32_t* sums) {
    for (std::size_t j = 0; j < kColumns; ++j) sums[j] = 0;
    for (std::size_t g = 0; g < tile.groups; ++g)
      for (std::size_t j = 0; j < kColumns; ++j)
        for (std::size_t d = 0; d < kDepth; ++d)
          sums[j] += tile.integers[g * tile.stride * kDepth + d] *
                     tile.panels[(g * kColumns + j) * kDepth + d];
  }
};

bool runs_here() { return true; }

}  // namespace

const Kernel kPlain = {"plain", 0, runs_here, round_block, multiply_panels<Plain>};

}  // namespace dawn
