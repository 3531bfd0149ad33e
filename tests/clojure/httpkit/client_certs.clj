(ns httpkit.client-certs
  "Certificates for TLS tests: a test CA and what it signs, made with the JDK's
  keytool in a temporary directory."
  (:require [clojure.java.io :as io]
            [clojure.string :as str])
  (:import [java.io File FileInputStream]
           [java.net InetAddress ServerSocket]
           [java.nio.file Files]
           [java.nio.file.attribute FileAttribute]
           [java.security KeyStore]
           [javax.net.ssl KeyManagerFactory SSLContext SSLServerSocket TrustManagerFactory]))

(def password "test-only")

(def ^:private ^File dir
  (delay (doto (.toFile (Files/createTempDirectory "client-certs" (make-array FileAttribute 0)))
           (.deleteOnExit))))

(defn- file ^File [& parts]
  (doto (io/file @dir (apply str parts)) (.deleteOnExit)))

(defn- keytool [& args]
  (let [command (into [(str (io/file (System/getProperty "java.home") "bin" "keytool")) "-J-Xshare:auto"] args)
        process (-> (ProcessBuilder. ^java.util.List (vec command)) (.redirectErrorStream true) (.start))
        out     (slurp (.getInputStream process))]
    (when-not (zero? (.waitFor process))
      (throw (ex-info (str "keytool failed: " out) {:command command})))))

(defn- store [alias] (str (file alias ".p12")))

(defn- new-key [alias & args]
  (apply keytool "-genkeypair" "-alias" alias "-keyalg" "EC" "-groupname" "secp256r1"
         "-keystore" (store alias) "-storetype" "PKCS12" "-storepass" password
         "-dname" (str "CN=" alias) args))

(def ^:private ca
  (delay
    (new-key "ca" "-ext" "bc:critical=ca:true" "-ext" "ku:critical=keyCertSign" "-validity" "30")
    (keytool "-exportcert" "-alias" "ca" "-keystore" (store "ca") "-storepass" password "-rfc" "-file" (str (file "ca.pem")))
    (str (file "ca.pem"))))

(def truststore
  "Delay of the path of a PKCS#12 trust store with the test CA."
  (delay
    (let [path (str (file "trust.p12"))]
      (keytool "-importcert" "-noprompt" "-alias" "ca" "-file" @ca
               "-keystore" path "-storetype" "PKCS12" "-storepass" password)
      path)))

(def signed
  "Path of a PKCS#12 key store with a key for the subject alternative names, such
  as \"dns:localhost\", signed by the test CA. Further arguments go to
  keytool -gencert."
  (memoize
   (fn [alias san & args]
     (new-key alias)
     (let [csr  (str (file alias ".csr"))
           cert (str (file alias ".pem"))]
       (keytool "-certreq" "-alias" alias "-keystore" (store alias) "-storepass" password "-file" csr)
       (apply keytool "-gencert" "-alias" "ca" "-keystore" (do @ca (store "ca")) "-storepass" password
              "-infile" csr "-outfile" cert "-rfc" "-ext" (str "san=" san)
              (or args ["-validity" "30"]))
       (spit cert (slurp @ca) :append true)
       (keytool "-importcert" "-noprompt" "-alias" alias "-file" cert "-keystore" (store alias) "-storepass" password)
       (store alias)))))

(defn- openssl [& args]
  (let [process (-> (ProcessBuilder. ^java.util.List (into ["openssl"] args)) (.redirectErrorStream true) (.start))
        out     (slurp (.getInputStream process))]
    (when-not (zero? (.waitFor process))
      (throw (ex-info (str "openssl failed: " out) {:args args})))))

(def version-1
  "Delay of the path of a PKCS#12 key store with a self-signed certificate for
  localhost of X.509 version 1, such as `openssl x509 -req` makes."
  (delay
    (let [[key csr cert path] (map #(str (file "version-1" %)) [".key" ".csr" ".pem" ".p12"])]
      (openssl "req" "-new" "-newkey" "rsa:2048" "-nodes" "-keyout" key "-subj" "/CN=localhost" "-out" csr)
      (openssl "x509" "-req" "-days" "30" "-in" csr "-signkey" key "-out" cert)
      (openssl "pkcs12" "-export" "-in" cert "-inkey" key "-passout" (str "pass:" password) "-out" path)
      path)))

(def version-1-trust
  "Delay of the path of a trust store with the certificate of `version-1`."
  (delay
    @version-1
    (let [path (str (file "version-1-trust.p12"))]
      (keytool "-importcert" "-noprompt" "-alias" "version-1" "-file" (str (file "version-1.pem"))
               "-keystore" path "-storetype" "PKCS12" "-storepass" password)
      path)))

(defn- load-store ^KeyStore [path]
  (with-open [in (FileInputStream. ^String path)]
    (doto (KeyStore/getInstance "PKCS12")
      (.load in (.toCharArray ^String password)))))

(defn context
  "An SSLContext with the key store's key (or nil) that trusts the test CA, or what
  the trust store given does."
  ^SSLContext [key-store & [trust-store]]
  (let [trust (doto (TrustManagerFactory/getInstance (TrustManagerFactory/getDefaultAlgorithm))
                (.init (load-store (or trust-store @truststore))))
        keys  (when key-store
                (doto (KeyManagerFactory/getInstance (KeyManagerFactory/getDefaultAlgorithm))
                  (.init (load-store key-store) (.toCharArray ^String password))))]
    (doto (SSLContext/getInstance "TLS")
      (.init (some-> ^KeyManagerFactory keys .getKeyManagers) (.getTrustManagers trust) nil))))

(defn server-socket
  "A TLS server socket on loopback with the key store's key. `client-auth?` and
  `wants-client?`: clients must, or should, show a certificate that `trust` signed."
  ^ServerSocket [key-store & {:keys [client-auth? wants-client? trust protocols]}]
  (let [^SSLServerSocket socket (-> (context key-store trust)
                                    (.getServerSocketFactory)
                                    (.createServerSocket 0 50 (InetAddress/getByName "127.0.0.1")))]
    (when client-auth? (.setNeedClientAuth socket true))
    (when wants-client? (.setWantClientAuth socket true))
    (when protocols (.setEnabledProtocols socket (into-array String protocols)))
    socket))

(defn jvm-args
  "JVM arguments that make the test CA, or the trust store given, the JVM's trust
  anchor, and the key store (or nil) its own key."
  [key-store & [trust]]
  (cond-> [(str "-Djavax.net.ssl.trustStore=" (or trust @truststore))
           (str "-Djavax.net.ssl.trustStorePassword=" password)
           "-Djavax.net.ssl.trustStoreType=PKCS12"]
    key-store (into [(str "-Djavax.net.ssl.keyStore=" key-store)
                     (str "-Djavax.net.ssl.keyStorePassword=" password)
                     "-Djavax.net.ssl.keyStoreType=PKCS12"])))

(defn https-url [peer path]
  (str/replace (str (:url peer) path) "http://127.0.0.1" "https://localhost"))
