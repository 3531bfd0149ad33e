(ns httpkit.tls-certs
  "Certificates for tests of TLS servers: those of tests/certs/make.sh, and more that its authority signs."
  (:require [clojure.java.io :as io]
            [httpkit.files :as files])
  (:import (java.io File FileInputStream)
           (java.nio.file CopyOption Files StandardCopyOption)
           (java.nio.file.attribute FileAttribute)
           (java.security KeyStore)
           (javax.net.ssl KeyManagerFactory SSLContext TrustManagerFactory)))

(set! *warn-on-reflection* true)

(def password "Of all stores." "changeit")

(defn run
  "Runs a program; its output, or an exception if it fails."
  [& command]
  (let [process (-> (ProcessBuilder. ^java.util.List (mapv str command)) (.redirectErrorStream true) (.start))
        _       (.close (.getOutputStream process))
        out     (slurp (.getInputStream process))]
    (when-not (zero? (.waitFor process))
      (throw (ex-info (str (first command) " failed: " out) {:command command})))
    out))

(def ^:private directory
  (delay (let [dir (files/temporary-directory)]
           (.addShutdownHook (Runtime/getRuntime)
             (Thread. #(run! (fn [^File f] (.delete f)) (reverse (file-seq dir)))))
           (run "bash" "tests/certs/make.sh" dir)
           dir)))

(defn path
  "The path of a file in the directory of certificates."
  ^String [file]
  (str (io/file @directory file)))

(def issue
  "Makes NAME.pem, NAME.key and NAME.p12 for a certificate that the authority signs; returns the name. `san`: such as
  \"DNS:a.example\". `new-key`: arguments of `openssl genpkey`. Further arguments go to `openssl x509`."
  (memoize
    (fn [name san new-key & x509]
      (let [[key csr ext pem p12] (map #(path (str name %)) [".key" ".csr" ".ext" ".pem" ".p12"])]
        (apply run "openssl" "genpkey" "-out" key new-key)
        (run "openssl" "req" "-new" "-key" key "-subj" (str "/CN=" name) "-out" csr)
        (spit ext (str "subjectAltName=" san "\n"))
        (apply run "openssl" "x509" "-req" "-in" csr "-CA" (path "ca.pem") "-CAkey" (path "ca.key") "-CAcreateserial"
               "-extfile" ext "-out" pem (or x509 ["-days" "30"]))
        (run "openssl" "pkcs12" "-export" "-name" name "-in" pem "-inkey" key "-out" p12 "-passout" (str "pass:" password))
        name))))

(def p-256 ["-algorithm" "EC" "-pkeyopt" "ec_paramgen_curve:P-256"])

(defn rsa [bits] ["-algorithm" "RSA" "-pkeyopt" (str "rsa_keygen_bits:" bits)])

(defn pem
  "The options for a certificate and its key in PEM files."
  [name]
  {:cert (path (str name ".pem")) :key (path (str name ".key"))})

(defn load-store ^KeyStore [file]
  (with-open [in (FileInputStream. (path file))]
    (doto (KeyStore/getInstance "PKCS12")
      (.load in (.toCharArray ^String password)))))

(defn context
  "An SSLContext of a client that trusts the authority, with a key store's key or none."
  (^SSLContext [] (context nil))
  (^SSLContext [key-store]
   (let [trust (doto (TrustManagerFactory/getInstance (TrustManagerFactory/getDefaultAlgorithm))
                 (.init (load-store "trust.p12")))
         keys  (when key-store
                 (doto (KeyManagerFactory/getInstance (KeyManagerFactory/getDefaultAlgorithm))
                   (.init (load-store key-store) (.toCharArray ^String password))))]
     (doto (SSLContext/getInstance "TLS")
       (.init (some-> ^KeyManagerFactory keys .getKeyManagers) (.getTrustManagers trust) nil)))))

(defn replace-file!
  "Puts a copy of `from` in the place of `to`, in one step."
  [from to]
  (let [new (io/file (str to ".new"))]
    (io/copy (io/file from) new)
    (Files/move (.toPath new) (.toPath (io/file to))
      (into-array CopyOption [StandardCopyOption/ATOMIC_MOVE]))))

(defn put!
  "Puts the certificate `name` in the place of the folder's, in one step for each file."
  [folder name]
  (doseq [kind ["pem" "key"]]
    (replace-file! (path (str name "." kind)) (io/file folder (str "tls." kind)))))

(defn- link! [^File link target]
  (let [new (.toPath (io/file (str link ".new")))]
    (Files/createSymbolicLink new (.toPath (io/file target)) (make-array FileAttribute 0))
    (Files/move new (.toPath link) (into-array CopyOption [StandardCopyOption/ATOMIC_MOVE]))))

(defn linking
  "A folder with the certificate \"server\", and a function that puts another, \"other\", into its place by one symbolic
  link, as Kubernetes does it: tls.pem -> ..data/tls.pem, ..data -> a folder with a date."
  []
  (let [folder (files/temporary-directory), data (io/file folder "..data")]
    (doseq [name ["server" "other"]]
      (.mkdir (io/file folder name))
      (put! (io/file folder name) name))
    (link! data "server")
    (doseq [file ["tls.pem" "tls.key"]]
      (link! (io/file folder file) (str "..data/" file)))
    [folder #(link! data %)]))
