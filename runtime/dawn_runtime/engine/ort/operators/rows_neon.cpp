// NEON with dot products (ARMv8.2): 16 products an instruction.
#include <arm_neon.h>
#include <sys/auxv.h>

#include "blocks.h"

namespace dawn {
namespace {

constexpr unsigned long kDotProducts = 1UL << 20;  // HWCAP_ASIMDDP of Linux

struct Neon {
  static constexpr int kTileRows = 4, kTilePanels = 1;  // a panel takes four registers: 16 sums

  template <int R, int P>
  static void tile(const Tile& tile, std::int32_t* sums) {
    int32x4_t sum[R][4];
    DAWN_UNROLLED for (int i = 0; i < R; ++i)
        DAWN_UNROLLED for (int q = 0; q < 4; ++q) sum[i][q] = vdupq_n_s32(0);
    for (std::size_t g = 0; g < tile.groups; ++g) {
      const int8x16x4_t panel = vld1q_s8_x4(tile.panels + g * 64);
      __builtin_prefetch(tile.next + g * 64);
      const std::int8_t* rows = tile.integers + g * tile.stride * kDepth;
      DAWN_UNROLLED for (int i = 0; i < R; ++i) {
        std::int32_t four;
        __builtin_memcpy(&four, rows + i * kDepth, sizeof four);
        const int8x16_t row = vreinterpretq_s8_s32(vdupq_n_s32(four));
        DAWN_UNROLLED for (int q = 0; q < 4; ++q) sum[i][q] =
            vdotq_s32(sum[i][q], panel.val[q], row);
      }
    }
    DAWN_UNROLLED for (int i = 0; i < R; ++i) DAWN_UNROLLED for (int q = 0; q < 4; ++q)
        vst1q_s32(sums + i * kColumns + q * 4, sum[i][q]);
  }
};

bool runs_here() { return (getauxval(AT_HWCAP) & kDotProducts) != 0; }

}  // namespace

const Kernel kNeon = {"neon-dot", 0, runs_here, round_block, multiply_panels<Neon>};

}  // namespace dawn
