//! The encrypted bodies of Lark and WeCom: AES-256-CBC. Every length is checked before it is used.

use aes::Aes256;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::sign::{base64, from_base64, sha256};

const BLOCK: usize = 16;
/// WeCom pads to this length.
const WECOM_BLOCK: usize = 32;

type Decryptor = cbc::Decryptor<Aes256>;
type Encryptor = cbc::Encryptor<Aes256>;

/// Why a body could not be read. There is one answer to all of them, so that it tells an attacker nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the encrypted body")]
pub struct Unreadable;

/// Reads Lark's `encrypt`: 16 bytes IV, then the text padded to 16.
pub fn lark_open(encrypt_key: &str, encrypted: &str) -> Result<Vec<u8>, Unreadable> {
    let bytes = from_base64(encrypted).ok_or(Unreadable)?;
    let (iv, body) = bytes.split_at_checked(BLOCK).ok_or(Unreadable)?;
    open(sha256(encrypt_key.as_bytes()).as_ref(), iv, body, BLOCK)
}

/// Writes what [`lark_open`] reads.
pub fn lark_seal(encrypt_key: &str, iv: [u8; BLOCK], text: &[u8]) -> Result<String, Unreadable> {
    let body = seal(sha256(encrypt_key.as_bytes()).as_ref(), &iv, text, BLOCK)?;
    Ok(base64([iv.as_slice(), &body].concat()))
}

/// Reads WeCom's `Encrypt`: 16 random bytes, length, message, and the id of the receiver, which must be ours.
pub fn wecom_open(
    encoding_aes_key: &str,
    receiver_id: &str,
    encrypted: &str,
) -> Result<Vec<u8>, Unreadable> {
    let key = wecom_key(encoding_aes_key)?;
    let body = from_base64(encrypted).ok_or(Unreadable)?;
    let text = open(&key, &key[..BLOCK], &body, WECOM_BLOCK)?;
    let (_, rest) = text.split_at_checked(BLOCK).ok_or(Unreadable)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(Unreadable)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Unreadable)?;
    let (message, id) = rest.split_at_checked(length).ok_or(Unreadable)?;
    if id == receiver_id.as_bytes() { Ok(message.to_vec()) } else { Err(Unreadable) }
}

/// Writes what [`wecom_open`] reads.
pub fn wecom_seal(
    encoding_aes_key: &str,
    receiver_id: &str,
    random: [u8; BLOCK],
    message: &[u8],
) -> Result<String, Unreadable> {
    let key = wecom_key(encoding_aes_key)?;
    let length = u32::try_from(message.len()).map_err(|_| Unreadable)?.to_be_bytes();
    let text = [random.as_slice(), &length, message, receiver_id.as_bytes()].concat();
    Ok(base64(seal(&key, &key[..BLOCK], &text, WECOM_BLOCK)?))
}

fn wecom_key(encoding_aes_key: &str) -> Result<Vec<u8>, Unreadable> {
    // 43 characters hold 258 bits: the last two are not always zero.
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&alphabet::STANDARD, config);
    let key = engine.decode(encoding_aes_key).map_err(|_| Unreadable)?;
    if key.len() == 32 { Ok(key) } else { Err(Unreadable) }
}

fn open(key: &[u8], iv: &[u8], body: &[u8], block: usize) -> Result<Vec<u8>, Unreadable> {
    if body.is_empty() || !body.len().is_multiple_of(BLOCK) {
        return Err(Unreadable);
    }
    let mut text = body.to_vec();
    let cipher = Decryptor::new_from_slices(key, iv).map_err(|_| Unreadable)?;
    cipher.decrypt_padded::<NoPadding>(&mut text).map_err(|_| Unreadable)?;
    let padding = usize::from(*text.last().ok_or(Unreadable)?);
    let is_padding = (1..=block).contains(&padding)
        && padding <= text.len()
        && text[text.len() - padding..].iter().all(|byte| usize::from(*byte) == padding);
    if !is_padding {
        return Err(Unreadable);
    }
    text.truncate(text.len() - padding);
    Ok(text)
}

fn seal(key: &[u8], iv: &[u8], text: &[u8], block: usize) -> Result<Vec<u8>, Unreadable> {
    let padding = block - text.len() % block;
    let mut body = text.to_vec();
    body.resize(text.len() + padding, u8::try_from(padding).map_err(|_| Unreadable)?);
    let length = body.len();
    let cipher = Encryptor::new_from_slices(key, iv).map_err(|_| Unreadable)?;
    cipher.encrypt_padded::<NoPadding>(&mut body, length).map_err(|_| Unreadable)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHALLENGE: &str = r#"{"challenge":"c","token":"t","type":"url_verification"}"#;
    const LARK: &str = "AAECAwQFBgcICQoLDA0OD7ZYCqOg7o/7g7vvjsV1fSbebR/uClPl+47s+mFtFoQL83HP/bW0oFilC8wa1oqi\
                        XNRlXxcGscrdxhKAOjQIuU0=";
    const AES_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
    const WECOM: &str =
        "gdMKu9O/zqaXEdvZuG7ST+sW3NHYHqmCJVzLTD16AV6pyuKBkEZKr2xX1atrSRYmNa5q31YVHZYc6+iYKkweVA==";

    fn iv() -> [u8; 16] {
        std::array::from_fn(|index| u8::try_from(index).unwrap())
    }

    #[test]
    fn lark_bodies_are_read_and_written() {
        assert_eq!(lark_seal("ekey", iv(), CHALLENGE.as_bytes()).as_deref(), Ok(LARK));
        assert_eq!(lark_open("ekey", LARK).as_deref(), Ok(CHALLENGE.as_bytes()));
        assert_eq!(lark_open("other", LARK), Err(Unreadable));
    }

    #[test]
    fn wecom_bodies_are_read_and_written() {
        let sealed = wecom_seal(AES_KEY, "ww123", [b'R'; 16], b"<xml>hi</xml>");
        assert_eq!(sealed.as_deref(), Ok(WECOM));
        assert_eq!(wecom_open(AES_KEY, "ww123", WECOM).as_deref(), Ok(&b"<xml>hi</xml>"[..]));
        assert_eq!(wecom_open(AES_KEY, "ww124", WECOM), Err(Unreadable), "not for us");
    }

    #[test]
    fn a_length_beyond_the_body_is_refused() {
        let key = wecom_key(AES_KEY).unwrap();
        let text = [&[b'R'; 16][..], &u32::MAX.to_be_bytes(), b"x", b"ww123"].concat();
        let body = base64(seal(&key, &key[..16], &text, 32).unwrap());
        assert_eq!(wecom_open(AES_KEY, "ww123", &body), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn whatever_comes_in_is_read_or_refused(text: String, bytes: Vec<u8>) {
            for encrypted in [text, base64(bytes)] {
                let _ = lark_open("ekey", &encrypted);
                let _ = wecom_open(AES_KEY, "ww123", &encrypted);
                let _ = wecom_open(&encrypted, "ww123", WECOM);
            }
        }

        #[test]
        fn every_text_survives_the_round(text: Vec<u8>) {
            prop_assert_eq!(lark_open("k", &lark_seal("k", iv(), &text).unwrap()), Ok(text.clone()));
            let sealed = wecom_seal(AES_KEY, "id", iv(), &text).unwrap();
            prop_assert_eq!(wecom_open(AES_KEY, "id", &sealed), Ok(text));
        }
    }
}
